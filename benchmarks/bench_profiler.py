"""How long a profile takes, and how good its choice is against brute force.

1. Time: the whole of ``python -m profiler CONFIG`` with its start and pictures.
2. Time to target: every size is trained to the profile's target (``--to-loss``); the chosen one
   against the best.

How well its throughput agrees with real runs is measured by ``python -m benchmarks agreement``.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.table import PYTHON, Row

ROOT = Path(__file__).resolve().parent.parent
CHOICE = 1.10
LONGEST_S = 120.0


def profile_command(preset: str, folder: Path, *arguments: str) -> tuple[float, dict[str, Any]]:
    """Run the command; return its wall time and what its JSON holds."""
    command = [PYTHON, "-m", "profiler", preset, "--device", "cpu", "--quiet", *arguments]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--output", str(folder / "profile.md")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - started
    loaded: dict[str, Any] = json.loads((folder / "profile.json").read_text())
    return seconds, loaded


def choice(preset: str) -> list[Row]:
    """Return rows on the length of a profile, and on its choice by time to target."""
    with tempfile.TemporaryDirectory() as name:
        seconds, profile = profile_command(preset, Path(name))
        target = profile["analysis"]["figures"]["target"]["loss"]
        chosen = profile["analysis"]["recommendation"]["time_to_target"]["batch_size"]
        _, brute = profile_command(preset, Path(name), "--to-loss", str(target))
    times = {
        t["batch_size"]: t["seconds"]["value"]
        for t in brute["analysis"]["figures"]["target_times"]
        if t["is_measured"]
    }
    best = min(times, key=times.__getitem__)
    ratio = times[chosen] / times[best]
    return [
        Row(
            f"{preset}: the whole profile",
            f"{seconds:.0f} s",
            f"{LONGEST_S:.0f} s",
            seconds / LONGEST_S,
            "<= 1",
            seconds <= LONGEST_S,
        ),
        Row(
            f"{preset}: time to loss {target:g}, the chosen size against the best of {len(times)}",
            f"{times[chosen]:.2f} s at {chosen:,}",
            f"{times[best]:.2f} s at {best:,}",
            ratio,
            f"<= {CHOICE}",
            ratio <= CHOICE,
        ),
    ]


def measure() -> list[Row]:
    """Measure all rows of this file."""
    return choice("quick_3blob")
