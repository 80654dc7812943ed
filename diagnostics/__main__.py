"""``python -m diagnostics``."""

import sys

from diagnostics.command import main

sys.exit(main())
