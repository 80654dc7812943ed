"""The network under measurement, without a run folder."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import torch

from diagnostics.contract.folder import RunFolder
from trainer.allocator import keep_freed_memory
from trainer.config import ExperimentConfig
from trainer.data import Batch, SignalSource
from trainer.hardware import choose_device
from trainer.loop import evaluate, take_step, validation_source
from trainer.losses import new_loss
from trainer.model import new_model
from trainer.objective import new_crew, new_objective
from trainer.optimizers import new_optimizer
from trainer.run import Run
from trainer.trial.occupancy import PeakMeter

WINDOW_EPOCH = 1 << 41
"""Data stream of the windows: no epoch of training has it."""


class Subject:
    """A network in training, with the batches that it is measured on.

    Attributes:
        threads_allowed: How many threads a step may use; `n_threads` says how many it does.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        """Build network, optimizer and objective; no batch is made yet."""
        self.config = config
        self.device = choose_device(config.data.device)
        self.peaks = PeakMeter(self.device)
        self.loss = new_loss(config.loss)
        keep_freed_memory()
        self.threads_allowed = torch.get_num_threads()
        # At work until the process ends.
        self.crew = new_crew(config, self.device).__enter__()
        self.objective = new_objective(config, self.crew)
        self.run = self._new_run(config)
        self._source: SignalSource | None = None
        self._step = 0
        self._sums = torch.zeros(3, dtype=torch.float64, device=self.device)  # as the loop does

    def restart(self, learning_rate: float) -> None:
        """Replace network and optimizer by untrained ones with this learning rate."""
        training = msgspec.structs.replace(self.config.training, learning_rate=learning_rate)
        self.run = self._new_run(msgspec.structs.replace(self.config, training=training))

    def take_one(self) -> int:
        """Take the next step of the windows' stream; return its samples."""
        batch = self.next_batch()
        self._sums += take_step(self.run, self.objective, batch) * len(batch)
        return len(batch)

    def next_batch(self) -> Batch:
        """Return the next batch of the windows' stream, an epoch's last, smaller ones in turn."""
        source = self.source()
        epoch, step = divmod(self._step, source.n_batches)
        self._step += 1
        return source.batch(WINDOW_EPOCH + epoch, step)

    def source(self) -> SignalSource:
        """Return the source of training batches."""
        if self._source is None:
            data = self.config.data
            size = self.config.training.batch_size
            self._source = SignalSource(data, data.n_train, size, "train", self.device, self.crew)
        return self._source

    def test_loss(self) -> float:
        """Return ``scaled_loss`` over the validation samples."""
        source = validation_source(self.config.data, self.device, self.crew)
        return evaluate(self.run, source, self.objective)["scaled_loss"]

    def n_threads(self) -> int:
        """Return how many threads share a step."""
        return max(torch.get_num_threads(), self.crew.size)

    def park(self) -> None:
        """Give buffers back until the next window."""
        self._source = None
        self.run.optimizer.zero_grad()
        if self.device.type == "cuda":
            self.objective = new_objective(self.config, self.crew)
            torch.cuda.empty_cache()

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _new_run(self, config: ExperimentConfig) -> Run:
        model = new_model(config, self.device)
        return Run(
            config=config,
            folder=RunFolder(Path(os.devnull)),
            run_id="trial",
            segment=0,
            device=self.device,
            model=model,
            optimizer=new_optimizer(config, model),
        )
