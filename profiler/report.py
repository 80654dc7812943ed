"""The report in Markdown. Pure: a record and its analysis in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from profiler.analysis import Analysis
from profiler.capacity import memory_section, throughput_section
from profiler.profiles import BatchProfile
from profiler.recommendation import Choice, Recommendation, seconds_text
from profiler.record import Record
from profiler.sections import (
    efficiency_section,
    losses_section,
    phases_section,
    table,
    trial_name,
)
from profiler.status import LABELS
from trainer.config import ExperimentConfig

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
        throughput_section(record, analysis, config),
        memory_section(record, analysis),
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
        lines += [
            f"**Optimal batch size: {chosen.batch_size:,}**",
            "",
            *_bullets(record, analysis, advice),
        ]
    named = [
        ("Highest throughput", advice.throughput),
        ("Least time to target", advice.time_to_target),
        ("Largest that fits", advice.largest),
    ]
    lines += ["", table(["", "Batch Size", "Why"], [_named(text, c) for text, c in named])]
    lines += [f"\n{sentence}" for sentence in advice.advice]
    if failed := _failures(record):
        lines += ["", *(f"- {name}: {message}" for name, message in failed)]
    return "\n".join(lines)


def _failures(record: Record) -> list[tuple[str, str]]:
    """Return name and reason of each trial that was not completed, whatever its rule."""
    return [
        (trial_name(t), t.error_message or LABELS[t.status])
        for t in record.trials
        if t.status != FINISHED
    ]


def _bullets(record: Record, analysis: Analysis, advice: Recommendation) -> list[str]:
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
    trained = record.trial(size, advice.chosen.rule)
    if trained is not None and trained.epochs:
        found.append(f"- Final test loss: {_number(trained.epochs[-1].test_loss, '.4f')}")
    return found


def _named(text: str, choice: Choice | None) -> list[str]:
    if choice is None:
        return [text, "-", "not known"]
    least = "at least " if choice.is_minimum else ""
    return [text, f"{least}{choice.batch_size:,}", choice.reason]


def _conditions(record: Record) -> str:
    identity, machine = record.identity, record.identity.machine
    where = record.device if record.device == "cpu" else f"{record.device} ({record.device_name})"
    threads = sorted({t.threads for t in record.trials if t.memory is not None})
    return "\n".join(
        [
            "## Conditions",
            "",
            f"- Device: {where}; {machine['cpu']}, {machine['n_cores']} cores,"
            f" threads of each trial: {', '.join(map(str, threads)) or '?'}",
            f"- PyTorch {identity.versions['torch']}, Python {identity.versions['python']},"
            f" configuration {identity.config_hash}",
            f"- Took {record.elapsed_s:.0f} s. Every figure is explained in docs/profiler.md.",
        ]
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def console_lines(record: Record, analysis: Analysis, advice: Recommendation) -> Sequence[str]:
    """Return what the terminal shows at the end."""
    lines = []
    for profile in analysis.profiles:
        rate = _number(profile.samples_per_second, ",.0f")
        loss = _number(profile.final_test_loss, ".4f")
        lines.append(
            f"{profile.batch_size:>9,}  {rate:>10} samples/sec  test loss {loss:>9}"
            f"  {LABELS[profile.status]}"
        )
    lines += [f"{name}: {message}" for name, message in _failures(record)]
    if advice.chosen is not None:
        lines.append(f"Optimal batch size: {advice.chosen.batch_size:,} ({advice.chosen.reason})")
    return [*lines, *advice.advice]
