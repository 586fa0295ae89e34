"""``python -m scratchvgg`` is ``scratchvgg``."""

import sys

from .cli import main

sys.exit(main())
