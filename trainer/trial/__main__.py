"""``python -m trainer.trial``."""

import os

from trainer.trial.service import main

# Not sys.exit: the interpreter would wait for the lock that the reading thread holds.
os._exit(main())
