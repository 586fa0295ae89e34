"""The one class of error that reading weights raises."""


class WeightsError(RuntimeError):
    """A weights file that is truncated, corrupt, foreign or unsafe; the message names the file and the reason."""
