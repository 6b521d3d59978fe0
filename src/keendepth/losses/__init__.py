"""Losses: functions of tensors; every docstring names the paper and the equation."""
