"""What can go wrong in a run, in the user's language."""


class RunError(RuntimeError):
    """A run folder that exists already, is missing, is in use or does not fit; the message names it."""


class NonFiniteError(RunError):
    """The loss became NaN or infinite; the message names the layer where it began."""

    exit_status = 1  # the input was fine, the work failed
