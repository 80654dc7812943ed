"""A run at work: its configuration, folder, network, optimizer, and how far it has come."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diagnostics.contract.events import EndStatus, Metrics
from diagnostics.contract.folder import RunFolder
from trainer.config import ExperimentConfig

if TYPE_CHECKING:
    import torch

    from trainer.mixture import Mixture
    from trainer.model import TwoLayerNet
    from trainer.ranks import Ranks


@dataclass(slots=True)
class Position:
    """How far training has come: the next step to take is ``step`` of ``epoch`` of ``trace``.

    Attributes:
        epoch: Epoch at work, from 1; one past the last when the stage is complete.
        step: Steps of this epoch that are done.
        trace: None in stage one, else the number of the stage-two trace.
        sums: Loss sums over the samples of this epoch so far, in float64: ``loss_on``,
            ``loss_off``, penalty.
        train_seconds: Training time spent in this epoch so far.
    """

    epoch: int = 1
    step: int = 0
    trace: int | None = None
    sums: tuple[float, float, float] = (0.0, 0.0, 0.0)
    train_seconds: float = 0.0


def _alone() -> Ranks:
    from trainer.ranks import ALONE  # here: this module is imported without PyTorch, too

    return ALONE


@dataclass(slots=True)
class Run:
    """What hooks see of a run.

    Attributes:
        config: The complete configuration.
        folder: Where its files are.
        run_id: Random name, the same in all segments.
        segment: 0 for the first process, one more for each that resumed.
        device: Where training runs.
        model: The network.
        optimizer: Its optimizer.
        position: How far training has come.
        mixture: Stage two's mixture of encoder weights; None before stage two.
        encoder_bias: Mean encoder bias of stage one, for the encoders of stage two.
        seconds_before: Wall time that earlier processes spent on the run.
        started: `time.monotonic` when this process began.
        ranks: The processes that share each batch.
    """

    config: ExperimentConfig
    folder: RunFolder
    run_id: str
    segment: int
    device: torch.device
    model: TwoLayerNet
    optimizer: torch.optim.Optimizer
    position: Position = field(default_factory=Position)
    mixture: Mixture | None = None
    encoder_bias: float = 0.0
    seconds_before: float = 0.0
    started: float = field(default_factory=time.monotonic)
    ranks: Ranks = field(default_factory=_alone)

    @property
    def total_seconds(self) -> float:
        """Wall time of the run so far, over all of its processes."""
        return self.seconds_before + time.monotonic() - self.started

    @property
    def n_epochs(self) -> int:
        """Number of epochs of the stage at work."""
        training = self.config.training
        if self.position.trace is None:
            return training.epochs
        return training.stage2_epochs or training.epochs


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: completed, failed or interrupted.
        reason: Why it did not complete.
        train: The last epoch's training means.
        test: The last epoch's validation means.
    """

    status: EndStatus
    reason: str | None = None
    train: Metrics = field(default_factory=dict)
    test: Metrics = field(default_factory=dict)
