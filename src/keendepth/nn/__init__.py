"""Torch modules: shapes in, shapes out; only `checkpoint` touches files."""
