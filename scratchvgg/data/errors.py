"""The one class of error that reading data raises."""


class DataError(RuntimeError):
    """A data file that is missing, broken, not what it claims to be, or unsafe; the message names the file and the reason."""
