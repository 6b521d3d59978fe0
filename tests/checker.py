"""Run-time checking of shape annotations, switched on for the whole package by conftest."""

from beartype import BeartypeConf, beartype

# An int is welcome where a float is annotated, as everywhere in Python.
typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
