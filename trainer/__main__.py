"""``python -m trainer``."""

import sys

from trainer.command import main

sys.exit(main())
