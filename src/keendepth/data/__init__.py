"""Data: samples and the readers that make them, the store of predictions, rendered scenes, and corruptions."""

from __future__ import annotations

from keendepth.core.registry import Registry
from keendepth.data.sample import CROPS, Dataset, Facts, Sample, crop_region

__all__ = ["CROPS", "Dataset", "Facts", "Sample", "crop_region", "register", "registry"]

registry: Registry[Dataset] = Registry("dataset")
register = registry.register

from keendepth.data import driving, folder, hypersim, indoor, nuscenes, shared_pairs, sintel, stereo  # noqa: E402, F401
