"""Rows of the benchmarks' common table, and how they are kept and printed."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from trainer.hardware import has_bf16_units

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and what it is held against.

    Attributes:
        name: What is measured.
        ours: This project's figure, with its unit.
        peer: The figure of the peer, the floor or the bar, with its unit.
        ratio: Ours by the peer's, medians of pairs measured side by side; None without a peer.
        bar: What the ratio or the figure shall be, such as ``>= 0.97``.
        holds: Whether it is.
    """

    name: str
    ours: str
    peer: str
    ratio: float | None
    bar: str
    holds: bool | None


TITLES = ("what", "this project", "peer or floor", "ratio", "bar", "holds")


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as texts under `TITLES`."""
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    holds = {True: "yes", False: "NO", None: ""}[row.holds]
    return row.name, row.ours, row.peer, ratio, row.bar, holds


def keep(name: str, rows: Sequence[Row]) -> None:
    """Write rows to ``benchmarks/results/NAME.json`` with the machine and versions."""
    RESULTS.mkdir(exist_ok=True)
    content = {
        "machine": {
            "processor": processor(),
            **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
            "system": platform.system(),
            "python": f"Python {platform.python_version()}",
            "torch": f"PyTorch {version('torch')}",
        },
        "command": f"python -m benchmarks {name}",
        "rows": [asdict(row) for row in rows],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def processor() -> str:
    """Return the processor's name, the number of cores, and how PyTorch uses its vector units.

    Some clouds give all processors one name.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    vectors = torch.backends.cpu.get_cpu_capability()
    bf16 = "bf16 units" if has_bf16_units(torch.device("cpu")) else "no bf16 units"
    return f"{name}, {os.cpu_count()} cores, {vectors}, {bf16}"


def in_turn(measured: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Measure several things in turn, ``repeats`` times.

    Returns:
        For each name its figures; those at the same place were measured in the same round.
    """
    found: dict[str, list[float]] = {name: [] for name in measured}
    for i in range(repeats):
        # The order alternates, so a machine that gets slower favours none.
        for name in list(measured)[:: -1 if i % 2 else 1]:
            found[name].append(measured[name]())
    return found


def ratio_of(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Return the median of the ratios of figures that were measured in the same round."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def interleaved(
    ours: Callable[[], float], peer: Callable[[], float], repeats: int
) -> tuple[float, float, float]:
    """Measure two things in turn; return both medians and the median of the pairs' ratios.

    A first pair is not counted.
    """
    found = in_turn({"ours": ours, "peer": peer}, repeats + 1)
    mine, theirs = found["ours"][1:], found["peer"][1:]
    return statistics.median(mine), statistics.median(theirs), ratio_of(mine, theirs)


def wall_seconds(*command: str) -> float:
    """Return the wall time of a command that must succeed."""
    import time

    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


PYTHON = sys.executable
