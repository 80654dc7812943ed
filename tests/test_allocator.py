"""What the C library does with memory that a step frees."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
from trainer.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [bytearray(8 << 20) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str, **environment: str) -> int:
    command = [sys.executable, "-c", CODE, how]
    done = subprocess.run(
        command, env=os.environ | environment, check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_for_the_next_step_but_where_the_user_says_otherwise() -> None:
    by_default = page_faults("by default")
    assert page_faults("kept") < by_default / 5
    asked = {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}
    assert page_faults("kept", **asked) > by_default / 5
