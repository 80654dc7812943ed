"""Everything that follows from a record. Pure: a record in, figures out."""

from __future__ import annotations

from dataclasses import dataclass

from profiler import efficiency, learning
from profiler.efficiency import NoiseScale, StepsFit, TimeFit
from profiler.learning import Target, Verdict
from profiler.measure import Estimate, Speed, estimate_speed
from profiler.memory import MemoryModel, fit_memory
from profiler.plan import Rule
from profiler.profiles import BatchProfile, build_profile
from profiler.record import Record, TrialRecord
from trainer.config import ExperimentConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTime:
    """Time to the target of one size and rule; ``steps`` is fitted where it was not reached."""

    batch_size: int
    rule: Rule
    steps: Estimate
    seconds: Estimate
    is_measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseAt:
    """The gradient noise scale after one epoch of one size, and the test loss there."""

    batch_size: int
    epoch: int
    loss: float
    scale: NoiseScale


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualSteps:
    """Training losses after the same number of steps, by rule and size."""

    n_steps: float
    losses: dict[Rule, dict[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What a record says; sizes that are missing from a dict have no such figure."""

    profiles: list[BatchProfile]
    speeds: dict[int, Speed]
    verdicts: dict[Rule, dict[int, Verdict]]
    zero_loss: float
    equal_steps: EqualSteps | None
    target: Target | None
    target_times: list[TargetTime]
    steps_fit: StepsFit | None
    time_fit: TimeFit | None
    best_size: float | None
    noise: list[NoiseAt]
    memory_model: MemoryModel | None


def analyse(record: Record, config: ExperimentConfig) -> Analysis:
    """Return everything that follows from a record, complete or not."""
    plain = [t for t in record.trials if t.rule == "constant"]
    speeds = {
        t.batch_size: speed
        for t in plain
        if t.status == "completed" and (speed := estimate_speed(t.windows, t.threads)) is not None
    }
    zero = learning.zero_loss(config)
    curves = _curves(record)
    verdicts = {rule: _verdicts(record, rule, zero) for rule in _rules(record)}
    if record.to_loss is not None:
        target: Target | None = Target(record.to_loss, "as asked (--to-loss)")
    else:
        target = learning.choose_target(
            curves.get("constant", {}), verdicts.get("constant", {}), config.training.batch_size
        )
    steps = _measured_steps(record, target)
    plain_steps = {size: found.value for (size, rule), found in steps.items() if rule == "constant"}
    steps_fit = efficiency.fit_steps(plain_steps)
    time_fit = efficiency.fit_step_time({size: s.step_s.value for size, s in speeds.items()})
    best = efficiency.best_size(steps_fit, time_fit) if steps_fit and time_fit else None
    return Analysis(
        profiles=[
            build_profile(
                t,
                speeds.get(t.batch_size),
                config.data.n_train,
                on_gpu=record.device != "cpu",
                learning=verdicts["constant"].get(t.batch_size, "unknown"),
            )
            for t in plain
        ],
        speeds=speeds,
        verdicts=verdicts,
        zero_loss=zero,
        equal_steps=_equal_steps(curves),
        target=target,
        target_times=_target_times(record, speeds, steps, steps_fit) if target else [],
        steps_fit=steps_fit,
        time_fit=time_fit,
        best_size=best,
        noise=[n for t in plain if t.status == "completed" for n in _noise_of(t, zero)],
        memory_model=fit_memory(
            [
                (t.batch_size, t.memory.peak_bytes)
                for t in plain
                if t.memory is not None and t.status == "completed"
            ]
        ),
    )


def _rules(record: Record) -> list[Rule]:
    return sorted({t.rule for t in record.trials})


def _curves(record: Record) -> dict[Rule, dict[int, efficiency.Curve]]:
    """Return the training losses over steps of what was completed, by rule and size."""
    return {
        rule: {
            t.batch_size: t.curve
            for t in record.trials
            if t.rule == rule and t.status == "completed" and t.curve
        }
        for rule in _rules(record)
    }


def _verdicts(record: Record, rule: Rule, zero: float) -> dict[int, Verdict]:
    """Judge the sizes under one rule together; under each rule one size has the configured rate."""
    own = record.config["training"]["batch_size"]
    trials = [
        t
        for t in record.trials
        if t.status == "completed"
        and t.curve
        and (t.rule == rule or (t.rule == "constant" and t.batch_size == own))
    ]
    losses = {t.batch_size: t.epochs[-1].test_loss for t in trials if t.epochs}
    known = {size: loss for size, loss in losses.items() if loss is not None}
    return learning.judge({t.batch_size: t.curve for t in trials}, known, zero)


def _measured_steps(record: Record, target: Target | None) -> dict[tuple[int, Rule], Estimate]:
    if target is None:
        return {}
    return {
        (t.batch_size, t.rule): found
        for t in record.trials
        if t.status == "completed"
        and (found := efficiency.steps_to(t.curve, target.loss)) is not None
    }


def _target_times(
    record: Record,
    speeds: dict[int, Speed],
    steps: dict[tuple[int, Rule], Estimate],
    fit: StepsFit | None,
) -> list[TargetTime]:
    """Return steps times seconds a step, for measured steps and, within the fit, for the others."""
    found = []
    for trial in record.trials:
        speed = speeds.get(trial.batch_size)
        if speed is None or trial.status != "completed":
            continue
        needed = steps.get((trial.batch_size, trial.rule))
        is_measured = needed is not None
        # Only upwards: a small size that did not get there may never, the noise of its steps
        # keeps its loss up; a large one only had too few of them.
        above = bool(steps) and trial.batch_size > max(size for size, _ in steps)
        # A fit that misses what it was made from is not carried further.
        good_fit = fit is not None and fit.misfit <= efficiency.BAD_FIT
        if needed is None and above and trial.rule == "constant" and good_fit:
            assert fit is not None
            value = fit.steps(trial.batch_size)
            needed = Estimate(value, value * (1 - fit.misfit), value * (1 + fit.misfit))
        if needed is not None:
            seconds = Estimate(
                *(
                    efficiency.target_time(s, t)
                    for s, t in (
                        (needed.value, speed.step_s.value),
                        (needed.low, speed.step_s.low),
                        (needed.high, speed.step_s.high),
                    )
                )
            )
            found.append(
                TargetTime(
                    batch_size=trial.batch_size,
                    rule=trial.rule,
                    steps=needed,
                    seconds=seconds,
                    is_measured=is_measured,
                )
            )
    return found


def _equal_steps(curves: dict[Rule, dict[int, efficiency.Curve]]) -> EqualSteps | None:
    """Compare at the last step that every size has."""
    ends = [curve[-1][0] for group in curves.values() for curve in group.values()]
    if len(ends) < 2:
        return None
    common = min(ends)
    losses: dict[Rule, dict[int, float]] = {
        rule: {
            size: at
            for size, curve in group.items()
            if (at := learning.at_steps(curve, common)) is not None
        }
        for rule, group in curves.items()
    }
    return EqualSteps(n_steps=common, losses=losses)


def _noise_of(trial: TrialRecord, zero: float) -> list[NoiseAt]:
    """Return the noise scale after each epoch, with the loss at that moment."""
    found = []
    for number, epoch in enumerate(trial.epochs, start=1):
        loss = epoch.test_loss
        if epoch.noise and loss is not None:
            on_plateau = loss > (1 - learning.LEARNED_DROP) * zero
            scale = efficiency.noise_scale(epoch.noise, plateau=on_plateau)
            found.append(NoiseAt(batch_size=trial.batch_size, epoch=number, loss=loss, scale=scale))
    return found
