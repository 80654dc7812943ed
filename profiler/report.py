"""The report in Markdown. Pure: a record and its analysis in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from diagnostics.contract.trials import MemoryUsed
from profiler.analysis import Analysis
from profiler.memory import agrees
from profiler.profiles import GIGABYTE, BatchProfile, measured_epoch_seconds
from profiler.recommendation import Choice, Recommendation, seconds_text
from profiler.record import Record
from profiler.sections import efficiency_section, losses_section, phases_section, table
from profiler.status import LABELS
from trainer.config import ExperimentConfig

EPOCH_MISMATCH = 0.10
FINISHED = "completed"


def render(
    record: Record,
    analysis: Analysis,
    advice: Recommendation,
    config: ExperimentConfig,
    picture: str | None = None,
) -> str:
    """Return the whole report.

    Args:
        record: What was measured, perhaps not all of it yet.
        analysis: What follows from it.
        advice: The recommendation.
        config: The configuration that was profiled.
        picture: Name of the picture beside the report.
    """
    parts = [f"# Batch Size Profile: d={config.data.d}, hidden={config.model.hidden_size}"]
    if record.status != FINISHED:
        parts.append(f"**{record.status.capitalize()}**: only what is known so far.")
    parts.append(_main_table(record, analysis))
    parts.append(_recommendation(record, analysis, advice))
    if picture is not None:
        parts.append(f"![Batch size profile]({picture})")
    parts += [
        _throughput_section(record, analysis, config),
        _memory_section(record, analysis),
        *losses_section(record, analysis, config),
        *efficiency_section(record, analysis, config),
        *phases_section(record, analysis, config),
        _conditions(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _main_table(record: Record, analysis: Analysis) -> str:
    on_gpu = record.device != "cpu"
    memory = "GPU Memory" if on_gpu else "CPU Memory (process peak)"
    heads = ["Batch Size", "Time/Epoch", memory, "Samples/Sec", "Final Train Loss"]
    rows = [_main_row(profile) for profile in analysis.profiles]
    return table([*heads, "Final Test Loss", "Status"], rows)


def _main_row(profile: BatchProfile) -> list[str]:
    peak = profile.peak_gpu_memory_gb
    peak = profile.peak_host_memory_gb if peak is None else peak
    time = profile.avg_time_per_epoch
    short = {"out_of_memory": "OOM", "too_large": "OOM"}.get(profile.status, "-")
    return [
        f"{profile.batch_size:,}",
        short if time is None else f"{time:.2f}s" if time < 10 else f"{time:.1f}s",
        "-" if peak is None else f"{peak:.2f} GB",
        _number(profile.samples_per_second, ",.0f"),
        _number(profile.final_train_loss, ".4f"),
        _number(profile.final_test_loss, ".4f"),
        LABELS[profile.status],
    ]


def _recommendation(record: Record, analysis: Analysis, advice: Recommendation) -> str:
    lines = ["## Recommendation", ""]
    chosen = advice.chosen
    if chosen is None:
        lines.append("**No batch size can be recommended**: no trial was completed.")
    else:
        lines += [f"**Optimal batch size: {chosen.batch_size:,}**", "", *_bullets(analysis, advice)]
    named = [
        ("Highest throughput", advice.throughput),
        ("Least time to target", advice.time_to_target),
        ("Largest that fits", advice.largest),
    ]
    lines += ["", table(["", "Batch Size", "Why"], [_named(text, c) for text, c in named])]
    lines += [f"\n{sentence}" for sentence in advice.advice]
    failed = [p for p in analysis.profiles if p.error_message]
    if failed:
        lines += ["", *(f"- {p.batch_size:,}: {p.error_message}" for p in failed)]
    return "\n".join(lines)


def _bullets(analysis: Analysis, advice: Recommendation) -> list[str]:
    assert advice.chosen is not None
    size = advice.chosen.batch_size
    goals = {"throughput": "highest throughput", "time-to-loss": "least time to the target loss"}
    found = [f"- Chosen for: {goals[advice.goal]}"]
    if advice.chosen.rule != "constant":
        found.append(f"- Learning rate: by the {advice.chosen.rule} rule")
    top = advice.throughput
    speed = analysis.speeds.get(size)
    if speed is not None and top is not None:
        if top.batch_size == size:
            found.append(f"- Best throughput: {speed.rate.value:,.0f} samples/sec")
        else:
            best = analysis.speeds[top.batch_size].rate.value
            found.append(
                f"- Throughput: {speed.rate.value:,.0f} samples/sec"
                f" (best throughput: {best:,.0f} samples/sec at {top.batch_size:,})"
            )
    profile = next((p for p in analysis.profiles if p.batch_size == size), None)
    if profile is None:
        return found
    if profile.avg_time_per_epoch is not None:
        found.append(f"- Time per epoch: {seconds_text(profile.avg_time_per_epoch)}")
    if profile.peak_gpu_memory_gb is not None:
        found.append(f"- GPU memory usage: {profile.peak_gpu_memory_gb:.2f} GB")
    elif profile.peak_host_memory_gb is not None:
        peak = profile.peak_host_memory_gb
        found.append(f"- CPU memory usage: {peak:.2f} GB (no GPU was used)")
    if profile.final_test_loss is not None:
        found.append(f"- Final test loss: {profile.final_test_loss:.4f}")
    return found


def _named(text: str, choice: Choice | None) -> list[str]:
    if choice is None:
        return [text, "-", "not known"]
    return [text, f"{choice.batch_size:,}", choice.reason]


def _throughput_section(record: Record, analysis: Analysis, config: ExperimentConfig) -> str:
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


def _memory_section(record: Record, analysis: Analysis) -> str:
    trials = [t for t in record.trials if t.rule == "constant"]
    if not trials:
        return ""
    on_gpu = record.device != "cpu"
    heads = ["Batch Size", "Peak", "Predicted before"]
    rows = []
    for trial in trials:
        used, predicted = trial.memory, trial.predicted_bytes
        row = [
            f"{trial.batch_size:,}",
            "-" if used is None else _gigabytes(used.peak_bytes),
            "-" if predicted is None else _gigabytes(predicted) + _error(used, predicted),
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
        largest = "none" if limit.largest is None else f"{limit.largest:,}"
        lines.append(
            f"Largest that fits: {largest}; {limit.reason}. Probed: {probed or 'nothing'}."
        )
    return "\n".join(lines)


def _conditions(record: Record) -> str:
    identity, machine = record.identity, record.identity.machine
    where = record.device if record.device == "cpu" else f"{record.device} ({record.device_name})"
    threads = sorted({t.threads for t in record.trials})
    return "\n".join(
        [
            "## Conditions",
            "",
            f"- Device: {where}; {machine['cpu']}, {machine['n_cores']} cores,"
            f" {', '.join(map(str, threads)) or '?'} threads",
            f"- PyTorch {identity.versions['torch']}, Python {identity.versions['python']},"
            f" configuration {identity.config_hash}",
            f"- Took {record.elapsed_s:.0f} s. Every figure is explained in docs/profiler.md.",
        ]
    )


def _error(used: MemoryUsed | None, predicted: int) -> str:
    """Return by how much a prediction was off, where that was more than it should be."""
    if used is None or agrees(predicted, used.peak_bytes):
        return ""
    return f" (off by {predicted / used.peak_bytes - 1:+.0%})"


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / GIGABYTE:.2f} GB"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def console_lines(analysis: Analysis, advice: Recommendation) -> Sequence[str]:
    """Return what the terminal shows at the end."""
    lines = []
    for profile in analysis.profiles:
        rate = _number(profile.samples_per_second, ",.0f")
        loss = _number(profile.final_test_loss, ".4f")
        lines.append(
            f"{profile.batch_size:>9,}  {rate:>10} samples/sec  test loss {loss:>9}"
            f"  {LABELS[profile.status]}"
        )
    if advice.chosen is not None:
        lines.append(f"Optimal batch size: {advice.chosen.batch_size:,} ({advice.chosen.reason})")
    return [*lines, *advice.advice]
