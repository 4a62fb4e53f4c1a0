"""Configurations by the names of their parameters, with _ for the dot: ``mapper_config(window_size=3)``."""

from __future__ import annotations

import argparse

from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.offline.options import destination, from_options
from dvlt_ros.parameters import parameters_of


def mapper_config(**values):
    return config(MapperConfig, **values)


def config(kind, **values):
    unknown = values.keys() - dotted(kind).keys()
    assert not unknown, f"{kind.__name__} has no {unknown}"
    return from_options(kind, argparse.Namespace(**values))


def dotted(kind):
    """Names of parameters by what they are called here."""
    return {destination(name): name for name, _, _ in parameters_of(kind)}
