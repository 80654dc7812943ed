"""How much memory there is, and how much a batch size will need. Units: bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler import cgroups

BUDGET_SHARE = 0.75
PREDICTION_SLACK = 0.10
UNLIMITED = 1 << 60
"""cgroup v1 says "no limit" by a number near 2^63."""
MEMORY_FILES: dict[cgroups.Version, tuple[str, str, str]] = {
    "cgroup v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
    "cgroup v2": ("memory.max", "memory.current", "memory.stat"),
}


@dataclass(frozen=True, slots=True)
class Available:
    """What is free, and which limit says so: ``MemAvailable``, a cgroup, or the GPU."""

    n_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Peak memory as ``base_bytes + bytes_per_sample * B``."""

    base_bytes: float
    bytes_per_sample: float

    def peak_bytes(self, size: int) -> int:
        """Return the predicted peak of a batch size."""
        return round(self.base_bytes + self.bytes_per_sample * size)

    def largest_size(self, budget_bytes: int) -> int | None:
        """Return the largest size within the budget, None where size costs nothing."""
        if self.bytes_per_sample <= 0:
            return None
        return max(0, int((budget_bytes - self.base_bytes) / self.bytes_per_sample))


def host_available(root: Path = Path("/")) -> Available | None:
    """Return the least of MemAvailable and what every cgroup above this process has left.

    Args:
        root: Where ``proc`` and ``sys`` are; another folder in tests.
    """
    found = []
    if (n := _mem_available(root)) is not None:
        found.append(Available(n, "MemAvailable"))
    found += _cgroup_available(root)
    return min(found, key=lambda a: a.n_bytes, default=None)


def _mem_available(root: Path) -> int | None:
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _cgroup_available(root: Path) -> list[Available]:
    return [
        Available(left, version)
        for version, folder in cgroups.folders("memory", root)
        if (left := _left_in(folder, MEMORY_FILES[version])) is not None
    ]


def _left_in(folder: Path, names: tuple[str, str, str]) -> int | None:
    limit, usage = (_number(folder / name) for name in names[:2])
    if limit is None or usage is None or limit >= UNLIMITED:
        return None
    # The page cache counts as used but is given back on demand.
    return max(0, limit - usage + _inactive_file(folder / names[2]))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" in cgroup v2
        return None


def _inactive_file(path: Path) -> int:
    try:
        pairs = dict(line.split() for line in path.read_text().splitlines())
        return int(pairs.get("total_inactive_file", pairs.get("inactive_file", "0")))
    except (OSError, ValueError):
        return 0


def fit_memory(points: Sequence[tuple[int, int]]) -> MemoryModel | None:
    """Return the line through the two largest of the measured (size, peak); None for fewer.

    Small sizes hide in what loading PyTorch took, so the largest ones say most about larger ones.
    """
    ordered = sorted(dict(points).items())
    if len(ordered) < 2:
        return None
    (low, low_peak), (high, high_peak) = ordered[-2:]
    slope = max(0.0, (high_peak - low_peak) / (high - low))
    return MemoryModel(high_peak - slope * high, slope)


def floor_model(d: int, hidden: int, k: int, base_bytes: int) -> MemoryModel:
    """Return a model for before anything was measured: what every form of the step needs at least.

    Weights, gradients and Adam's two moments; for each sample its d inputs and k positions. A size
    that this refuses cannot fit; others are tried, under a limit.
    """
    weights = 4 * 4 * (2 * d * hidden + d + hidden)
    return MemoryModel(base_bytes + weights, 4.0 * d + 8.0 * k)


def agrees(predicted_bytes: int, measured_bytes: int) -> bool:
    """Say whether a prediction was good enough to trust the next one."""
    return abs(predicted_bytes - measured_bytes) <= PREDICTION_SLACK * measured_bytes
