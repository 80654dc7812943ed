"""The verdicts on a trial."""

from __future__ import annotations

from typing import Literal, get_args

Status = Literal[
    "completed",
    "out_of_memory",
    "killed",
    "timed_out",
    "crashed",
    "diverged",
    "too_large",
    "interrupted",
]
STATUSES: tuple[Status, ...] = get_args(Status)
LABELS: dict[Status, str] = {
    "completed": "OK",
    "out_of_memory": "OUT OF MEMORY",
    "killed": "KILLED",
    "timed_out": "TIMED OUT",
    "crashed": "CRASHED",
    "diverged": "DIVERGED",
    "too_large": "TOO LARGE (predicted)",
    "interrupted": "INTERRUPTED",
}
"""What the report's column says."""
