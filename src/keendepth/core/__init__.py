"""Depth types and the mathematics of depth: numpy and scipy only."""
