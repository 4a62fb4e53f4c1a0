"""Every error that dvlt_ros raises on purpose; all of them name the thing and the cause."""


def one_line(text: str) -> str:
    """With what is not printed as its escape: line ends, a terminal's commands, bytes of a name that are no text."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class DvltError(Exception):
    """Base of all errors of this package.

    Its text is one line, whatever a file, a topic or a frame in it is called.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


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
