"""The six panels of the picture; each draws one question's answer into its axes."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from profiler.analysis import Analysis
from profiler.axes import GREY, HEADROOM, draw_intervals, interval_top, place_legend, say, size_axis
from profiler.efficiency import BAD_FIT, smoothed
from profiler.profiles import GIGABYTE, PHASES, phase_shares
from profiler.recommendation import Recommendation, seconds_text
from profiler.record import Record
from trainer.config import ExperimentConfig

BLUE, ORANGE, GREEN, RED = "#1f5fa8", "#d9822b", "#2e8b57", "#c0392b"
SHADES = ("#08306b", "#1f5fa8", "#4292c6", "#5bbcb0", "#e0a030", "#d9602b", "#a02c2c", "#5d3a9b")
PHASE_COLOURS = (GREEN, "#4292c6", BLUE, ORANGE, "#d5d9df")


def _throughput(
    axes: Axes, record: Record, analysis: Analysis, advice: Recommendation, _: object
) -> None:
    axes.set_title("Throughput, with 95% intervals")
    axes.set_ylabel("samples a second")
    if not analysis.speeds:
        say(axes, "not measured")
        return
    sizes = sorted(analysis.speeds)
    rates = {size: analysis.speeds[size].rate for size in sizes}
    top = interval_top(rates.values())
    draw_intervals(axes, rates, top, lambda rate: f"{rate:,.0f}", color=BLUE)
    if advice.throughput is not None:
        best = advice.throughput.batch_size
        what = "highest" if len(advice.throughput.ties) < 2 else "smallest of a tie"
        axes.axvline(best, color=ORANGE, linewidth=1.5, zorder=0, label=f"{what}: {best:,}")
        place_legend(axes, 1)
    axes.set_ylim(0, top * HEADROOM)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _pos: f"{value:,.0f}"))
    size_axis(axes, sizes)


def _target(
    axes: Axes, record: Record, analysis: Analysis, advice: Recommendation, _: object
) -> None:
    axes.set_ylabel("seconds")
    if analysis.target is None or not analysis.target_times:
        axes.set_title("Time to target loss")
        say(axes, "no common target was reached")
        return
    axes.set_title(f"Time to loss {analysis.target.loss:g}")
    plain = [t for t in analysis.target_times if t.rule == "constant"]
    top = interval_top([t.seconds for t in analysis.target_times])
    for measured, style in ((True, {"color": BLUE}), (False, {"color": GREY, "mfc": "white"})):
        found = {t.batch_size: t.seconds for t in plain if t.is_measured == measured}
        label = "measured" if measured else "by the fit"
        if found:
            draw_intervals(axes, found, top, seconds_text, linestyle="none", label=label, **style)
    for rule, marker in (("sqrt", "^"), ("linear", "s")):
        times = [t for t in analysis.target_times if t.rule == rule]
        if times:
            xs, ys = [t.batch_size for t in times], [t.seconds.value for t in times]
            axes.plot(xs, ys, marker, color=RED, mfc="none", label=f"{rule} rule")
    _fitted_curve(axes, analysis)
    if advice.time_to_target is not None:
        size = advice.time_to_target.batch_size
        axes.axvline(size, color=ORANGE, linewidth=1.5, zorder=0, label=f"least: {size:,}")
    axes.set_ylim(0, top * HEADROOM)
    place_legend(axes, 3)
    size_axis(axes, sorted({*analysis.speeds, *(t.batch_size for t in analysis.target_times)}))


def _fitted_curve(axes: Axes, analysis: Analysis) -> None:
    steps, time = analysis.steps_fit, analysis.time_fit
    sizes = [t.batch_size for t in analysis.target_times]
    if steps is None or time is None or len(sizes) < 2 or steps.misfit > BAD_FIT:
        return
    low, high = min(sizes), max(sizes)
    grid = [low * (high / low) ** (i / 60) for i in range(61)]
    values = [steps.steps(b) * time.step_s(b) for b in grid]
    axes.plot(grid, values, color=GREY, linewidth=1, linestyle="--", label="S(B)(a + bB)")


def _memory(
    axes: Axes, record: Record, analysis: Analysis, advice: Recommendation, _: object
) -> None:
    where = "GPU" if record.device != "cpu" else "CPU, process peak"
    axes.set_title(f"Memory ({where})")
    axes.set_ylabel("GB")
    trials = [t for t in record.trials if t.memory is not None and t.rule == "constant"]
    if not trials:
        say(axes, "not measured")
        return
    sizes = [t.batch_size for t in trials]
    peaks = [t.memory.peak_bytes / GIGABYTE for t in trials if t.memory is not None]
    axes.plot(sizes, peaks, "o-", color=BLUE, label="peak")
    top = max(peaks) * 1.25
    if record.budget_bytes is not None:
        budget = record.budget_bytes / GIGABYTE
        if budget < 4 * max(peaks):
            axes.axhline(budget, color=RED, linewidth=1.2, label="budget, a ceiling")
            top = max(top, budget * 1.1)
        else:
            text = f"budget {budget:,.1f} GB, far above"
            axes.text(
                0.98,
                0.96,
                text,
                transform=axes.transAxes,
                ha="right",
                va="top",
                color=RED,
                fontsize=8,
            )
    axes.set_ylim(0, top)
    place_legend(axes, 2)
    size_axis(axes, sizes)


def _loss_by_samples(
    axes: Axes, record: Record, analysis: Analysis, advice: Recommendation, config: ExperimentConfig
) -> None:
    axes.set_title("Training loss by samples")
    axes.set_xlabel("samples seen")
    _losses(axes, record, analysis, config, by_samples=True)


def _loss_by_steps(
    axes: Axes, record: Record, analysis: Analysis, advice: Recommendation, config: ExperimentConfig
) -> None:
    axes.set_title("Training loss by steps")
    axes.set_xlabel("steps")
    axes.set_xscale("log")
    _losses(axes, record, analysis, config, by_samples=False)


def _losses(
    axes: Axes, record: Record, analysis: Analysis, config: ExperimentConfig, *, by_samples: bool
) -> None:
    axes.set_ylabel("scaled loss")
    trials = [
        t for t in record.trials if t.curve and t.rule == "constant" and t.status == "completed"
    ]
    if not trials:
        say(axes, "not measured")
        return
    for i, trial in enumerate(trials):
        n_steps = max(1, sum(e.n_steps for e in trial.epochs))
        per_step = sum(e.n_samples for e in trial.epochs) / n_steps if by_samples else 1.0
        points = smoothed(trial.curve)
        xs, ys = [x * per_step for x, _ in points], [y for _, y in points]
        colour = SHADES[i % len(SHADES)]
        axes.plot(xs, ys, color=colour, linewidth=1.3, label=f"{trial.batch_size:,}")
    axes.axhline(analysis.zero_loss, color=GREY, linewidth=1, linestyle=":")
    axes.annotate(
        "predicting zero",
        (1, analysis.zero_loss),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        color=GREY,
    )
    if analysis.target is not None:
        axes.axhline(analysis.target.loss, color=RED, linewidth=1, linestyle="--", label="target")
    lowest = min(y for trial in trials for _, y in trial.curve)
    fall = max(analysis.zero_loss - lowest, 0.1 * analysis.zero_loss)
    axes.set_ylim(max(0.0, lowest - 0.1 * fall), analysis.zero_loss + (HEADROOM - 1) * fall)
    if by_samples:
        place_legend(axes, 4)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _pos: f"{value:,.0f}"))


def _phases(
    axes: Axes, record: Record, analysis: Analysis, advice: Recommendation, _: object
) -> None:
    axes.set_title("Where a step's time goes")
    axes.set_ylabel("share of the step")
    trials = [t for t in record.trials if t.phases is not None and t.status == "completed"]
    if not trials:
        say(axes, "not measured")
        return
    shares = [phase_shares(t.phases) for t in trials if t.phases is not None]
    floors = [0.0] * len(shares)
    for name, colour in zip(PHASES, PHASE_COLOURS, strict=True):
        heights = [share[name] for share in shares]
        axes.bar(range(len(shares)), heights, bottom=floors, color=colour, label=name, width=0.7)
        floors = [floor + height for floor, height in zip(floors, heights, strict=True)]
    axes.set_xticks(range(len(trials)), [f"{t.batch_size:,}" for t in trials])
    axes.set_xlabel("batch size")
    axes.set_ylim(0, 1.18)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
    axes.legend(
        frameon=False,
        ncols=len(PHASES),
        loc="upper center",
        fontsize=8,
        columnspacing=0.9,
        handlelength=1.1,
    )


PANELS: tuple[Callable[..., None], ...] = (
    _throughput,
    _target,
    _memory,
    _loss_by_samples,
    _loss_by_steps,
    _phases,
)
