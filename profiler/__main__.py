"""``python -m profiler``."""

import sys

from profiler.command import main

sys.exit(main())
