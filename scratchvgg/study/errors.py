"""What the study says when it is asked for something that there is not."""

from __future__ import annotations


class StudyError(ValueError):
    """A request that cannot be met: an unknown layer, a picture and a net that do not fit, a run without a record. One sentence says why."""
