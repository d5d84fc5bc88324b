"""The errors that a user can mend. Programs print them as one line and exit with code 1."""


class UserError(Exception):
    """A mistake outside the code: its message says what was expected, what came and what to do."""


class DataError(UserError):
    """A data set that is missing, damaged or not what it says it is."""


class CheckpointError(UserError):
    """A weights file or run folder that cannot be read, or does not fit the network."""


class DeviceError(UserError):
    """A device that was asked for and is not there."""
