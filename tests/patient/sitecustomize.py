"""For the diagnostics processes of tests: be nice, but not idle.

At SCHED_IDLE a process may wait for minutes on a machine with other work, such as the other half of
the tests; what it does is the same at any priority.
"""

import os

del os.SCHED_IDLE
