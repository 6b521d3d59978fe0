"""Pictures to train and to measure on: readers of data sets, rendered scenes, corruptions, and the prediction store."""
