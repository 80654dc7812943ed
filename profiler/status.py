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
KERNEL_KILLED = "killed (SIGKILL); the kernel's count of out-of-memory kills rose meanwhile"
"""Of a killed trial: it counts as one that did not fit."""


class TrialFailure(Exception):  # noqa: N818 - the verdict of a trial, not a fault of this program
    """A trial ended before its time.

    Attributes:
        status: The verdict.
        message: What happened, in one line.
    """

    def __init__(self, status: Status, message: str) -> None:
        """Keep verdict and message."""
        super().__init__(message)
        self.status = status
        self.message = message
