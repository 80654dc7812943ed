"""What the C library does with memory that a step frees."""

from __future__ import annotations

import contextlib
import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""From malloc.h of glibc."""
LARGEST_KEPT_BYTES = 32 << 20
"""The most that glibc accepts."""
MOST_KEPT_BYTES = 256 << 20


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks of this process for the next step.

    By default it gives blocks of some megabytes back to the kernel, and the next step faults every
    page of them in anew (mallopt(3)); 10% of a step in bf16 were seen to go there. Does nothing
    with other C libraries, nor where the environment says what malloc shall do.
    """
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT_BYTES)
