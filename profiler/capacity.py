"""Sections of the report on throughput and memory. Pure."""

from __future__ import annotations

from profiler.analysis import Analysis
from profiler.memory import agrees
from profiler.profiles import GIGABYTE, measured_epoch_seconds
from profiler.recommendation import seconds_text
from profiler.record import Record, TrialRecord
from profiler.sections import table
from trainer.config import ExperimentConfig

EPOCH_MISMATCH = 0.10


def throughput_section(record: Record, analysis: Analysis, config: ExperimentConfig) -> str:
    """Return the rate of each size with its interval, and the epochs held against it."""
    if not analysis.speeds:
        return ""
    heads = ["Batch Size", "Samples/Sec", "95% interval", "Step", "Epoch from rate", "Epoch run"]
    rows = []
    notes = []
    n_train = config.data.n_train
    for size, speed in sorted(analysis.speeds.items()):
        trial = record.trial(size)
        assert trial is not None
        run = measured_epoch_seconds(trial, n_train)
        expected = n_train / speed.rate.value
        rows.append(
            [
                f"{size:,}",
                f"{speed.rate.value:,.0f}",
                f"{speed.rate.low:,.0f} to {speed.rate.high:,.0f}",
                seconds_text(speed.step_s.value),
                seconds_text(expected),
                "-" if run is None else seconds_text(run),
                f"{speed.n_used} ({speed.n_rejected})" + ("*" if speed.is_busy else ""),
            ]
        )
        if run is not None and abs(run / expected - 1) > EPOCH_MISMATCH:
            notes.append(f"{size:,} ({run / expected - 1:+.0%})")
    lines = ["## Throughput", "", table([*heads, "Windows used (rejected)"], rows)]
    if any(speed.is_busy for speed in analysis.speeds.values()):
        lines += [
            "",
            "\\* Too few windows without contention: see docs/profiler.md for what was used.",
        ]
    if notes:
        lines += [
            "",
            "The full epochs took another time than the rate says, by more than 10%:"
            f" {', '.join(notes)}. They were not interleaved and nothing was rejected from them.",
        ]
    return "\n".join(lines)


def memory_section(record: Record, analysis: Analysis) -> str:
    """Return the peaks, what was predicted of them, the budget and the largest that fits."""
    trials = [t for t in record.trials if t.rule == "constant"]
    if not trials:
        return ""
    on_gpu = record.device != "cpu"
    heads = ["Batch Size", "Peak", "Predicted before"]
    rows = []
    for trial in trials:
        used = trial.memory
        row = [
            f"{trial.batch_size:,}",
            "-" if used is None else _gigabytes(used.peak_bytes),
            _prediction(trial),
        ]
        if on_gpu:
            figures = (used.reserved_bytes, used.device_used_bytes) if used else (None, None)
            row += ["-" if f is None else _gigabytes(f) for f in figures]
            row.append("-" if used is None else str(used.n_allocator_retries))
        rows.append(row)
    if on_gpu:
        heads += ["Reserved", "Device in use", "Allocator retries"]
    lines = ["## Memory", "", table(heads, rows), ""]
    if record.budget_bytes is not None:
        lines.append(
            f"Budget: {_gigabytes(record.budget_bytes)} ({record.budget_source}). It is a ceiling"
            " that leaves room for others, not a target: a larger batch is not better for filling"
            " it."
        )
    if (model := analysis.memory_model) is not None:
        lines.append(
            f"From the two largest sizes: {_gigabytes(model.base_bytes)} plus"
            f" {model.bytes_per_sample / 1e3:.1f} kB a sample."
        )
    if (limit := record.limit) is not None:
        probed = ", ".join(
            f"{size:,} ({'no' if peak is None else _gigabytes(peak)})"
            for size, peak in limit.probes
        )
        least = "" if limit.refused is not None else "at least "
        largest = "none" if limit.largest is None else f"{least}{limit.largest:,}"
        lines.append(
            f"Largest that fits: {largest}; {limit.reason}. Probed: {probed or 'nothing'}."
        )
    return "\n".join(lines).rstrip()


def _prediction(trial: TrialRecord) -> str:
    """Return what was predicted, and by how much that was off where it was more than it should."""
    predicted, used = trial.predicted_bytes, trial.memory
    if predicted is None:
        return "-"
    if trial.predicted_is_minimum:
        return f"at least {_gigabytes(predicted)}"
    if used is None or agrees(predicted, used.peak_bytes):
        return _gigabytes(predicted)
    return f"{_gigabytes(predicted)} (off by {predicted / used.peak_bytes - 1:+.0%})"


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / GIGABYTE:.2f} GB"
