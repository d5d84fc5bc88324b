"""The errors that a user can mend. Programs print them as one line and exit with code 1."""


def on_one_line(text: str) -> str:
    """A text that may hold names from outside, with what breaks lines or steers a terminal escaped as in Python."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class UserError(Exception):
    """A mistake outside the code: its message, always one line, says what was expected, what came and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(on_one_line(message))


class DataError(UserError):
    """A data set that is missing, damaged or not what it says it is."""


class CheckpointError(UserError):
    """A weights file or run folder that cannot be read, or does not fit the network."""


class DeviceError(UserError):
    """A device that was asked for and is not there."""
