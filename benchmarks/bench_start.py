"""How long the programs take to start."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.table import PYTHON, Row, interleaved, wall_seconds

REPEATS = 5
FIRST_BATCH = """
import os, sys
from trainer.command import main
import trainer.hooks
class First(trainer.hooks.Hook):
    def batch_ended(self, run):
        os._exit(0)
trainer.hooks.installed_hooks = lambda: [First()]
sys.exit(main(sys.argv[1:]))
"""


def first_batch() -> float:
    """Return the time from the start of the command to the end of its first batch."""
    folder = Path(tempfile.mkdtemp())
    try:
        command = [PYTHON, "-c", FIRST_BATCH, "quick_3blob", "--device", "cpu", "--quiet"]
        return wall_seconds(*command, "--output-dir", str(folder / "run"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def at_most(name: str, command: list[str], bar_s: float) -> Row:
    """Compare the time of a command with its bar; Python alone is shown beside it."""
    mine, empty, _ = interleaved(
        lambda: wall_seconds(*command), lambda: wall_seconds(PYTHON, "-c", ""), REPEATS
    )
    beside = f"{empty:.3f} s (python alone)"
    return Row(name, f"{mine:.3f} s", beside, mine / empty, f"<= {bar_s} s", mine <= bar_s)


def measure() -> list[Row]:
    """Measure all rows of this file."""
    rows = [
        at_most("python -m trainer --help", [PYTHON, "-m", "trainer", "--help"], 0.5),
    ]
    mine, theirs, ratio = interleaved(
        first_batch, lambda: wall_seconds(PYTHON, "-c", "import torch"), REPEATS
    )
    rows.append(
        Row(
            "python -m trainer to the end of the first batch, against import torch",
            f"{mine:.3f} s",
            f"{theirs:.3f} s",
            ratio,
            "<= 1.3",
            ratio <= 1.3,
        )
    )
    return rows
