"""How a profile is made. Units: seconds, bytes, samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from profiler.plan import Rule

Goal = Literal["auto", "throughput", "time-to-loss"]
TARGET_EPOCHS_FACTOR = 6
DEFAULT_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was asked for.

    Attributes:
        test_epochs: Full epochs for the losses of each size.
        rules: Learning-rate rules; ``constant`` is always among them.
        timeout_s: A trial whose answers take longer in all is ended.
        to_loss: Train every size until this training loss instead of for ``test_epochs``.
        find_limit: Look for the largest size that fits.
        try_oversized: Try sizes on the CPU whose prediction is above the budget, too.
        optimize: What the recommended size is best at.
        memory_budget_bytes: Instead of 75% of what is free.
        window_s: Length of one window.
        windows_s: Time for all windows, where every size has enough free of contention.
        busy_windows_s: Time for all windows at most, where one has not.
        noise_samples: Samples a batch for the gradient noise scale.
        device: Instead of the configured one.
        pictures: Draw PNG and SVG beside the report.
        threads: Of each trial; None for PyTorch's choice.
    """

    test_epochs: int = 5
    rules: tuple[Rule, ...] = ("constant",)
    timeout_s: float = DEFAULT_TIMEOUT_S
    to_loss: float | None = None
    find_limit: bool = False
    try_oversized: bool = False
    optimize: Goal = "auto"
    memory_budget_bytes: int | None = None
    window_s: float = 0.2
    windows_s: float = 32.0
    busy_windows_s: float = 40.0
    noise_samples: int = 1000
    device: str | None = None
    threads: int | None = None
    pictures: bool = True

    @property
    def n_epochs(self) -> int:
        """Epochs a trial may take: more where a target loss ends it early."""
        return self.test_epochs * (TARGET_EPOCHS_FACTOR if self.to_loss is not None else 1)
