"""Scoring depth: accuracy, sharpness, robustness; importing it registers every metric of this package."""

from keendepth.evaluation import boundary, contours, metrics, ordinal, surfaces
from keendepth.evaluation.scoring import METRICS

__all__ = ["METRICS", "boundary", "contours", "metrics", "ordinal", "surfaces"]
