"""Sections of the report on losses, efficiency and where the time goes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from profiler.analysis import Analysis, NoiseAt, TargetTime
from profiler.efficiency import BAD_FIT
from profiler.profiles import PHASES, phase_shares
from profiler.recommendation import seconds_text
from profiler.record import Record, TrialRecord
from profiler.remedies import product_share, remedies
from trainer.config import ExperimentConfig

NEGLIGIBLE = 0.01
"""A term of S(B) that adds less than this part at every size is left out of the text."""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with columns of even width."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(heads))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def losses_section(record: Record, analysis: Analysis, config: ExperimentConfig) -> list[str]:
    """Return the losses at equal samples and at equal steps, with a verdict for each size."""
    trials = [t for t in record.trials if t.epochs and t.status == "completed"]
    if not trials:
        return []
    equal = analysis.equal_steps
    heads = ["Batch Size", "Learning Rate", "Steps", "Test loss, equal samples"]
    heads += [
        f"Train loss after {equal.n_steps:,.0f} steps" if equal else "At equal steps",
        "Verdict",
    ]
    rows = []
    for trial in trials:
        at = equal.losses[trial.rule].get(trial.batch_size) if equal else None
        rule = "" if trial.rule == "constant" else f" ({trial.rule})"
        rows.append(
            [
                f"{trial.batch_size:,}",
                f"{trial.learning_rate:.4g}{rule}",
                f"{sum(e.n_steps for e in trial.epochs):,}",
                _loss(trial.epochs[-1].test_loss),
                _loss(at),
                analysis.verdicts[trial.rule].get(trial.batch_size, "unknown"),
            ]
        )
    lines = [
        "## Losses",
        "",
        f"A network that always answers zero has loss {analysis.zero_loss:.4g}. All losses are"
        " `scaled_loss`, without the penalty on the weights.",
        "",
        table(heads, rows),
        "",
        "Equal losses say nothing while nothing has been learned. *Too few steps*: still falling,"
        " or others got lower with more steps. *Plateau*: standing still, although others got lower"
        " with no more steps, or where no size got lower.",
    ]
    if record.to_loss is not None:
        lines.append("Training ended at the target loss (`--to-loss`), not at equal samples.")
    return ["\n".join(lines)]


def efficiency_section(record: Record, analysis: Analysis, config: ExperimentConfig) -> list[str]:
    """Return time to target, the fits behind it, and the gradient noise scale."""
    lines = ["## Time to target", ""]
    if analysis.target is None:
        if not any(analysis.verdicts.values()):
            return []
        lines.append("No target: fewer than two sizes learned down to a common loss.")
    else:
        lines += _target_lines(record, analysis)
    if noise := _noise_lines(analysis):
        lines += ["", *noise]
    return ["\n".join(lines)]


def _target_lines(record: Record, analysis: Analysis) -> list[str]:
    assert analysis.target is not None
    lines = [
        f"Target: training loss {analysis.target.loss:g} ({analysis.target.source}).",
        "",
    ]
    rows = []
    shown = {(t.batch_size, t.rule) for t in analysis.target_times}
    for time in analysis.target_times:
        rows.append(
            [
                trial_name(time),
                f"{time.steps.value:,.0f}",
                seconds_text(time.seconds.value),
                f"{seconds_text(time.seconds.low)} to {seconds_text(time.seconds.high)}",
                "measured" if time.is_measured else "fitted",
            ]
        )
    for trial in record.trials:
        if (trial.batch_size, trial.rule) not in shown and trial.status == "completed":
            n_steps = sum(e.n_steps for e in trial.epochs)
            row = [trial_name(trial), f"> {n_steps:,}", "-", "-", "not reached"]
            rows.append(row)
    lines.append(table(["Batch Size", "Steps S", "Time T", "Range", "Source"], rows))
    if fitted := _fit_lines(analysis):
        lines += ["", *fitted]
    return lines


def _fit_lines(analysis: Analysis) -> list[str]:
    """Return the fits in words, and the size that they call best."""
    steps, time = analysis.steps_fit, analysis.time_fit
    if steps is None:
        return []
    if steps.misfit > BAD_FIT:
        return [
            f"S(B) = S_min (1 + B_n/B) misses the measured steps by up to {steps.misfit:.0%}:"
            " nothing is extrapolated from it."
        ]
    sizes = [t.batch_size for t in analysis.target_times]
    low, high = min(sizes, default=1), max(sizes, default=1)
    n_sizes = sum(t.is_measured and t.rule == "constant" for t in analysis.target_times)
    misfit = f" (misfit at most {steps.misfit:.0%})."
    if n_sizes == 2:
        misfit = " (through two sizes: it has nothing to miss)."
    if steps.b_noise < NEGLIGIBLE * low:
        text = f"Fit: about {steps.s_min:,.0f} steps at every size; a larger batch saves none"
    elif steps.b_noise > high / NEGLIGIBLE:
        product = steps.s_min * steps.b_noise
        text = f"Fit: S(B) = {product:,.0f}/B, as many samples at every size"
    else:
        text = f"Fit: S(B) = {steps.s_min:,.0f} (1 + {steps.b_noise:,.0f}/B)"
    lines = [text + misfit]
    if time is not None:
        grows = f"{time.sample_s * 1e6:.2f} us a sample"
        fixed = f"{time.overhead_s * 1e3:.2f} ms"
        terms = [*([fixed] if time.overhead_s else []), *([grows] if time.sample_s else [])]
        lines.append(f"Step time: {' + '.join(terms)}.")
        lines.append(_best_size_text(analysis.best_size, low, high))
    return lines


def _best_size_text(best: float | None, low: int, high: int) -> str:
    """Say where T(B) is least; beyond the sizes that were tried it is no more than a direction."""
    if best is None or best > high:
        return f"By these fits T(B) falls up to the largest size here, {high:,}, and beyond."
    if best < low:
        return f"By these fits T(B) grows from the smallest size here, {low:,}, on."
    return f"By these fits T(B) is least at B* = {best:,.0f}."


def _noise_lines(analysis: Analysis) -> list[str]:
    if not analysis.noise:
        return []
    latest: dict[int, NoiseAt] = {}
    for found in analysis.noise:
        if found.scale.value is not None or found.batch_size not in latest:
            latest[found.batch_size] = found
    rows = []
    for size, found in sorted(latest.items()):
        scale = found.scale
        value = scale.reason or "not measured"
        if scale.value is not None:
            value = f"{scale.value:,.0f} ({scale.low:,.0f} to {scale.high:,.0f})"
        rows.append([f"{size:,}", str(found.epoch), f"{found.loss:.4f}", value])
    return [
        "Gradient noise scale B_simple = tr(S)/|G|^2 in samples, the last one known of each run:",
        "",
        table(["Batch Size", "After epoch", "Test loss then", "B_simple"], rows),
        "",
        "It is a proxy: it describes plain gradient descent at one moment, not Adam on its way to"
        " the target (McCandlish et al. 2018). The measured steps above decide.",
    ]


def phases_section(record: Record, analysis: Analysis, config: ExperimentConfig) -> list[str]:
    """Return where a step's time goes, and what to do about it."""
    rows = []
    is_exceeded = False
    for trial in record.trials:
        if trial.phases is None or trial.batch_size not in analysis.speeds:
            continue
        speed = analysis.speeds[trial.batch_size]
        products = product_share(record, analysis, trial.batch_size)
        is_exceeded |= products is not None and products > 1
        share = "-" if products is None else f"{products:.0%}"
        faults = [f"{speed.system_share:.0%}", f"{speed.faults_per_step:,.0f}"]
        shares = [f"{part:.0%}" for part in phase_shares(trial.phases).values()]
        rows.append([f"{trial.batch_size:,}", *shares, *faults, share])
    if not rows:
        return []
    names = [name.capitalize() for name in PHASES]
    heads = ["Batch Size", *names, "System share"]
    lines = [
        "## Where the time goes",
        "",
        table([*heads, "Page faults/step", "Of product rate"], rows),
    ]
    if record.flops_per_s:
        less = " Some steps had more: the machine was busy while it was measured."
        lines += [
            "",
            f"Measured rate of matrix products: {record.flops_per_s / 1e9:,.1f} GFLOP/s."
            + (less if is_exceeded else ""),
        ]
    lines += ["", *(f"- {text}" for text in remedies(record, analysis, config))]
    return ["\n".join(lines).rstrip()]


def trial_name(item: TargetTime | TrialRecord) -> str:
    """Return size and, where it is another than the configured one, rule of the learning rate."""
    return f"{item.batch_size:,}" + ("" if item.rule == "constant" else f" ({item.rule} rule)")


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
