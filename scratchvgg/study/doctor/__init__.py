"""Why isn't it learning? A doctor for nets and training runs.

:func:`examine` looks at a run's record, at its weights and at one batch, tries some learning rates on a copy, and says what it found, the
likeliest cause first. The checks are in ``checks/``; each is a function of a :class:`.case.Case` that gives :class:`Finding`\\ s.
"""

from .examine import examine
from .findings import Diagnosis, Finding
from .registry import list_checks

__all__ = ["Diagnosis", "Finding", "examine", "list_checks"]
