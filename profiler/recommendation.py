"""Which batch size to use, and why. Pure: an analysis in, sentences out."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.analysis import Analysis, TargetTime
from profiler.measure import TIE, best_of_ties
from profiler.plan import Rule, smaller_sizes
from profiler.profiles import lacked_memory
from profiler.record import Record
from profiler.settings import Goal
from trainer.config import ExperimentConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A size that is best at something, with its reason.

    ``is_minimum``: of the largest that fits, that nothing larger was refused.
    """

    batch_size: int
    reason: str
    rule: Rule = "constant"
    ties: tuple[int, ...] = ()
    is_minimum: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Three answers, one of them chosen.

    Attributes:
        throughput: Most samples a second.
        time_to_target: Least seconds to the target loss.
        largest: Largest that fits.
        chosen: The recommended one; None while nothing is known.
        goal: What ``chosen`` is best at.
        advice: Plain sentences on what else to do.
    """

    throughput: Choice | None
    time_to_target: Choice | None
    largest: Choice | None
    chosen: Choice | None
    goal: Goal
    advice: list[str]


def recommend(
    record: Record, analysis: Analysis, config: ExperimentConfig, goal: Goal
) -> Recommendation:
    """Return the three named sizes and the recommended one."""
    throughput = _throughput(analysis)
    fastest = _time_to_target(analysis)
    reached = [t for t in analysis.target_times if t.is_measured]
    advice = _advice(analysis, reached, fastest, config)
    if goal == "auto":
        # A single size has won against nobody, unless all were trained to the loss that was asked.
        enough = 2 if record.to_loss is None else 1
        goal = "time-to-loss" if fastest is not None and len(reached) >= enough else "throughput"
        if goal == "throughput" and throughput is not None:
            advice.append(
                "Recommended by throughput, because fewer than two sizes reached a common loss:"
                " nothing is known about which one learns faster."
            )
    chosen = throughput if goal == "throughput" else fastest
    if chosen is None and goal == "time-to-loss" and throughput is not None:
        goal, chosen = "throughput", throughput
        advice.append("No size reached the target loss, so throughput decides.")
    if chosen is not None and _is_above_budget(record, chosen.batch_size):
        advice.append(
            f"Batch size {chosen.batch_size:,} fits, but needs more than the budget: it leaves"
            " little for other programs."
        )
    return Recommendation(
        throughput=throughput,
        time_to_target=fastest,
        largest=_largest(record, analysis, config),
        chosen=chosen,
        goal=goal,
        advice=advice,
    )


def _throughput(analysis: Analysis) -> Choice | None:
    if not analysis.speeds:
        return None
    size, ties = best_of_ties({s: v.rate for s, v in analysis.speeds.items()}, highest=True)
    rate = analysis.speeds[size].rate
    reason = f"{rate.value:,.0f} samples/sec (95% interval {rate.low:,.0f} to {rate.high:,.0f})"
    return Choice(batch_size=size, reason=reason + _tied(size, ties), ties=tuple(ties))


def _time_to_target(analysis: Analysis) -> Choice | None:
    reached = [t for t in analysis.target_times if t.is_measured]
    if not reached or analysis.target is None:
        return None
    # One candidate a size: its best rule.
    best_rule: dict[int, TargetTime] = {}
    for time in reached:
        held = best_rule.get(time.batch_size)
        if held is None or time.seconds.value < held.seconds.value:
            best_rule[time.batch_size] = time
    size, ties = best_of_ties({s: t.seconds for s, t in best_rule.items()}, highest=False)
    chosen = best_rule[size]
    rule = "" if chosen.rule == "constant" else f", learning rate by the {chosen.rule} rule"
    reason = (
        f"{seconds_text(chosen.seconds.value)} to a training loss of {analysis.target.loss:g}"
        f" ({seconds_text(chosen.seconds.low)} to {seconds_text(chosen.seconds.high)}):"
        f" {chosen.steps.value:,.0f} steps{rule}"
    )
    return Choice(
        batch_size=size, reason=reason + _tied(size, ties), rule=chosen.rule, ties=tuple(ties)
    )


def _largest(record: Record, analysis: Analysis, config: ExperimentConfig) -> Choice | None:
    if record.limit is not None and record.limit.largest is not None:
        return Choice(
            batch_size=record.limit.largest,
            reason=f"by --find-limit; {record.limit.reason}",
            is_minimum=record.limit.refused is None,
        )
    fitting = [
        t.batch_size
        for t in record.trials
        if t.status == "completed" and not _is_above_budget(record, t.batch_size)
    ]
    if not fitting:
        return None
    text = "the largest tried that fits the budget"
    if analysis.memory_model is not None and record.budget_bytes is not None:
        predicted = analysis.memory_model.largest_size(record.budget_bytes)
        n_train = config.data.n_train
        if predicted is None or predicted >= n_train:
            text += "; by prediction a whole epoch would fit"
        elif predicted > max(fitting):
            text += f"; by prediction up to {predicted:,} would (--find-limit tries)"
    too_large = [
        t.batch_size
        for t in record.trials
        if lacked_memory(t) or _is_above_budget(record, t.batch_size)
    ]
    return Choice(batch_size=max(fitting), reason=text, is_minimum=not too_large)


def _is_above_budget(record: Record, size: int) -> bool:
    """Say whether a size needed more than its share; on a GPU it completes nevertheless."""
    trial = record.trial(size)
    if trial is None or trial.memory is None or record.budget_bytes is None:
        return False
    return trial.memory.peak_bytes > record.budget_bytes


def _advice(
    analysis: Analysis, reached: list[TargetTime], fastest: Choice | None, config: ExperimentConfig
) -> list[str]:
    sizes = [p.batch_size for p in analysis.profiles]
    below = smaller_sizes(min(sizes)) if sizes else []
    words = " and ".join(str(size) for size in below)
    found = []
    verdicts = [v for group in analysis.verdicts.values() for v in group.values()]
    if verdicts and "learned" not in verdicts:
        text = "No size learned anything in these epochs, so their losses cannot be compared"
        found.append(
            f"{text}; try {words}, or more epochs." if below else f"{text}; try more epochs."
        )
    elif fastest is not None and below and fastest.batch_size == min(sizes) and len(reached) >= 2:
        found.append(
            "The smallest size tried is the fastest to the target: the candidates are at or"
            f" beyond the useful range; try {words}."
        )
    slower = [v for v in analysis.speeds.values() if v.is_busy]
    if slower:
        found.append(
            "The machine was too busy to reject every contended window: the least contended ones"
            " were used; measure again when it is quiet."
        )
    return found


def _tied(size: int, ties: list[int]) -> str:
    others = [f"{other:,}" for other in ties if other != size]
    if not others:
        return ""
    return f"; a tie with {', '.join(others)} (intervals overlap, within {TIE:.0%}): smallest wins"


def seconds_text(seconds: float) -> str:
    """Return seconds with a digit that people read."""
    if seconds < 0.1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
