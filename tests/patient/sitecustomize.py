"""For the diagnostics processes of tests: they do not give way to other work.

At the lowest priority a process may wait for minutes on a busy machine, such as one with the other
half of the tests; what it does is the same at any priority.
"""

import os

os.nice = lambda increment: 0
del os.SCHED_IDLE
