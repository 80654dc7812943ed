"""What callers get for each batch size."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from diagnostics.contract.trials import PhasesTimed
from profiler.learning import Verdict
from profiler.measure import Speed
from profiler.record import TrialRecord
from profiler.status import KERNEL_KILLED, Status

GIGABYTE = 1e9
PHASES = ("data", "forward", "backward", "optimizer", "rest")
DOES_NOT_FIT: tuple[Status, ...] = ("out_of_memory", "too_large")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProfile:
    """One batch size, measured. What is not known is None, never 0.

    Attributes:
        batch_size: Samples a step.
        epochs_completed: Epochs trained for the losses.
        avg_time_per_epoch: Training seconds an epoch, from the rate of the windows; from the
            epochs themselves where there are no windows.
        peak_gpu_memory_gb: Peak of the GPU's allocator in GB (10^9 bytes); None on the CPU.
        final_train_loss: Mean training loss (``scaled_loss``) of the last epoch.
        final_test_loss: Validation loss (``scaled_loss``) after the last epoch.
        samples_per_second: Median of the windows free of contention.
        oom_error: Whether it does not fit: it ran out of memory, or was predicted to.
        error_message: What went wrong, in one line; None for a completed trial.
        status: The verdict; ``completed`` means that everything above is known.
        learning_rate: Of the trial.
        samples_per_second_low: Lower end of the rate's 95% interval.
        samples_per_second_high: Upper end.
        peak_host_memory_gb: Peak of the process (VmHWM) in GB; None on a GPU.
        learning: Whether it learned anything.
    """

    batch_size: int
    epochs_completed: int
    avg_time_per_epoch: float | None
    peak_gpu_memory_gb: float | None
    final_train_loss: float | None
    final_test_loss: float | None
    samples_per_second: float | None
    oom_error: bool
    error_message: str | None
    status: Status
    learning_rate: float
    samples_per_second_low: float | None = None
    samples_per_second_high: float | None = None
    peak_host_memory_gb: float | None = None
    learning: Verdict = "unknown"


def build_profile(
    trial: TrialRecord, speed: Speed | None, n_train: int, *, on_gpu: bool, learning: Verdict
) -> BatchProfile:
    """Return the profile of a trial and its windows."""
    completed = trial.status == "completed"
    epoch_s = epoch_seconds(trial, speed, n_train)
    if not completed:  # what it did until it failed is no figure of its size
        speed = epoch_s = None
    last = trial.epochs[-1] if trial.epochs and completed else None
    peak = trial.memory.peak_bytes / GIGABYTE if trial.memory is not None else None
    rate = speed.rate if speed is not None else None
    return BatchProfile(
        batch_size=trial.batch_size,
        epochs_completed=len(trial.epochs),
        avg_time_per_epoch=epoch_s,
        peak_gpu_memory_gb=peak if on_gpu else None,
        final_train_loss=last.train_loss if last else None,
        final_test_loss=last.test_loss if last else None,
        samples_per_second=rate.value if rate else (n_train / epoch_s if epoch_s else None),
        oom_error=lacked_memory(trial),
        error_message=None if completed else trial.error_message,
        status=trial.status,
        learning_rate=trial.learning_rate,
        samples_per_second_low=rate.low if rate else None,
        samples_per_second_high=rate.high if rate else None,
        peak_host_memory_gb=None if on_gpu else peak,
        learning=learning,
    )


def lacked_memory(trial: TrialRecord) -> bool:
    """Return whether a trial did not fit, or the kernel killed it for that."""
    return trial.status in DOES_NOT_FIT or trial.error_message == KERNEL_KILLED


def epoch_seconds(trial: TrialRecord, speed: Speed | None, n_train: int) -> float | None:
    """Return the training seconds of an epoch: from the rate, else from epochs that were run."""
    if speed is not None:
        return n_train / speed.rate.value
    return measured_epoch_seconds(trial, n_train)


def measured_epoch_seconds(trial: TrialRecord, n_train: int) -> float | None:
    """Return the median of the full epochs that were run for the losses."""
    full = [e.wall_s for e in trial.epochs if e.n_samples == n_train]
    return statistics.median(full) if full else None


def phase_shares(phases: PhasesTimed) -> dict[str, float]:
    """Return the share of a step's time that each of `PHASES` takes; they add up to 1.

    The losses are timed apart from the step, so on a busy machine the parts can exceed it.
    """
    parts = [phases.data_s, phases.forward_s, phases.backward_s, phases.optimizer_s]
    whole = max(phases.data_s + phases.step_s, sum(parts))
    shares = [part / whole for part in parts]
    return dict(zip(PHASES, [*shares, max(0.0, 1 - sum(shares))], strict=True))
