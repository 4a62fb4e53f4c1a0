"""Why a look-up failed, by the real names."""


class TransformException(Exception):  # noqa: N818
    """Any of the below."""


class LookupException(TransformException):
    """A frame is not known."""


class ConnectivityException(TransformException):
    """Two known frames have no common ancestor."""


class ExtrapolationException(TransformException):
    """The time asked for lies outside what was received."""


class InvalidArgumentException(TransformException):
    """A frame name is empty or starts with a slash."""
