"""``python -m profiler``."""

import sys

try:
    from profiler.command import main

    status = main()
except KeyboardInterrupt:  # while everything was being loaded
    status = 130
sys.exit(status)
