"""``python -m monitord``."""

from __future__ import annotations

import sys

from monitord.command import main

if __name__ == "__main__":
    sys.exit(main())
