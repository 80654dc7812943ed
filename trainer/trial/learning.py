"""Epochs of training whose losses are kept step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import pairwise

import torch

from diagnostics.contract.trials import EpochTrained, TrainEpochs
from trainer.data import SignalSource
from trainer.gradient_noise import gradient_moments
from trainer.loop import take_step, weight_penalty
from trainer.trial.subject import Subject

CURVE_POINTS = 50
"""Points of the loss curve in an epoch."""
NOISE_BATCHES = 4
NOISE_EPOCH = 1 << 40
"""Data stream of the gradient noise scale: no epoch of training has it, no window either."""
HOST_CHECK_STEPS = 64
"""Steps between two looks at the losses: each look waits for the device."""
RECENT_SAMPLES = 2000


def train_epochs(subject: Subject, request: TrainEpochs) -> Iterator[EpochTrained]:
    """Train a fresh network; stop early at the target loss, or where a loss is not finite."""
    subject.restart(request.learning_rate)
    watch = _TargetWatch(request.to_loss)
    n_before = 0
    for epoch in range(1, request.n_epochs + 1):
        trained = _train_epoch(subject, epoch, n_before, request.noise_samples, watch)
        n_before += trained.n_steps
        yield trained
        if trained.reached or trained.train_loss is None or trained.test_loss is None:
            return


class _TargetWatch:
    """Says when the training loss has been low enough at two looks in a row.

    Noise alone does not do that, and the curve needs a few points below the target for the
    crossing to be read off.
    """

    def __init__(self, target: float | None) -> None:
        self._target = target
        self._was_low = False

    def sees(self, losses: list[float], batch_size: int) -> bool:
        """Look at the mean loss of the last samples: `RECENT_SAMPLES`, or one step's."""
        if self._target is None:
            return False
        n_steps = max(1, min(len(losses), RECENT_SAMPLES // batch_size))
        was_low, self._was_low = self._was_low, sum(losses[-n_steps:]) / n_steps <= self._target
        return was_low and self._was_low


def _train_epoch(
    subject: Subject, epoch: int, n_before: int, noise_samples: int, watch: _TargetWatch
) -> EpochTrained:
    """Train as `trainer.loop.train_epoch` does, keeping every step's loss."""
    source = subject.source()
    pending: list[torch.Tensor] = []
    losses: list[float] = []
    sizes: list[int] = []
    reached = False
    started = time.perf_counter()
    for step in range(source.n_batches):
        batch = source.batch(epoch, step)
        pending.append(take_step(subject.run, subject.objective, batch)[:2])
        sizes.append(len(batch))
        if len(pending) >= HOST_CHECK_STEPS or step + 1 == source.n_batches:
            losses += torch.stack(pending).sum(1).tolist()
            pending.clear()
            reached = watch.sees(losses, source.batch_size)
            if reached:
                break
    wall = time.perf_counter() - started
    n_samples = sum(sizes)
    mean = sum(loss * n for loss, n in zip(losses, sizes, strict=True)) / n_samples
    test_loss = subject.test_loss()
    with subject.peaks.excluded():
        noise = _noise_moments(subject, epoch, noise_samples)
    return EpochTrained(
        epoch=epoch,
        n_steps=len(sizes),
        n_samples=n_samples,
        wall_s=wall,
        train_loss=_finite(mean),
        test_loss=_finite(test_loss),
        curve=[(n_before + x, y) for x, y in _binned(losses) if math.isfinite(y)],
        noise=noise,
        reached=reached,
    )


def _noise_moments(subject: Subject, epoch: int, n_samples: int) -> list[tuple[int, float, float]]:
    """Return samples, tr(S) and |G|^2 of a few batches at this moment, the finite ones."""
    if n_samples < 2:
        return []
    data, model = subject.config.data, subject.run.model
    source = SignalSource(data, n_samples * NOISE_BATCHES, n_samples, "train", subject.device)
    found = []
    for i in range(NOISE_BATCHES):
        batch = source.batch(NOISE_EPOCH + epoch, i)
        moments = gradient_moments(model, subject.loss, batch, weight_penalty(subject.run))
        if math.isfinite(moments.trace) and math.isfinite(moments.squared_norm):
            found.append((moments.n_samples, moments.trace, moments.squared_norm))
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _binned(losses: list[float]) -> list[tuple[float, float]]:
    """Return at most `CURVE_POINTS` points: middle of the bin in steps taken, mean loss."""
    n_bins = min(len(losses), CURVE_POINTS)
    edges = [round(i * len(losses) / n_bins) for i in range(n_bins + 1)]
    return [
        ((low + high) / 2, sum(losses[low:high]) / (high - low)) for low, high in pairwise(edges)
    ]
