"""Every error that dvlt_ros raises on purpose; all of them name the thing and the cause."""


class DvltError(Exception):
    """Base of all errors of this package."""


class ConfigError(DvltError, ValueError):
    """A configuration value that cannot work, refused before anything is built from it."""


class InputError(DvltError, ValueError):
    """Images, maps or cameras of the wrong shape, type or content."""


class DataError(InputError):
    """A recording, a sequence, or a frame of one, that cannot be used."""


class WeightsError(DvltError):
    """A checkpoint that cannot be read, or that does not fit the network exactly."""


class AlignmentError(DvltError):
    """Too little or degenerate data for an alignment; there is no answer to give."""
