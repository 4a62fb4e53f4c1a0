"""Packages that only some data sets need."""

from __future__ import annotations

import importlib
from typing import Any

from dvlt_ros.errors import ConfigError

INSTALL = "pip install OpenEXR embreex h5py scipy 'small-gicp>=1.0.1,<2' trimesh"


def optional_package(name: str, purpose: str) -> Any:
    """A module, imported when it is needed.

    Raises:
        ConfigError: it is not installed; with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{purpose} needs {name.split('.')[0]}: {INSTALL} ({error})") from error
