"""keendepth: sharp, robust, metric depth from a photo, or from anybody's depth map."""
