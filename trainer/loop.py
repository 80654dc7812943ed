"""The training loop. Shapes: B samples of a batch, d coordinates, k active ones."""

from __future__ import annotations

import math
import resource
import sys
import time

import torch
from torch import Tensor

from diagnostics.contract.events import EpochEnded, Metrics, Timing
from diagnostics.contract.results import utc_now
from trainer.allocator import keep_freed_memory
from trainer.config import DataConfig
from trainer.crew import SOLO, Crew
from trainer.data import Batch, SignalSource
from trainer.hooks import Hook
from trainer.model import TwoLayerNet
from trainer.objective import Objective, new_crew, new_objective
from trainer.ranks import ALONE, Ranks, Stop
from trainer.run import Outcome, Position, Run

VALIDATION_BUFFER_BYTES = 64 << 20


def train(run: Run, hooks: Hook, stop: Stop, *, allow_nonfinite: bool = False) -> Outcome:
    """Train from ``run.position`` to the end of the stage, reporting every epoch to the hooks.

    Args:
        run: The run; its network, optimizer and position are updated.
        hooks: Called at each event.
        stop: Asked after each batch.
        allow_nonfinite: Go on after an epoch whose loss is NaN or infinite.

    Returns:
        How it ended; the caller tells the hooks.
    """
    keep_freed_memory()
    with new_crew(run.config, run.device) as crew:
        return _train(run, hooks, run.ranks.agree(stop), crew, allow_nonfinite)


def _train(run: Run, hooks: Hook, stop: Stop, crew: Crew, allow_nonfinite: bool) -> Outcome:
    data, size = run.config.data, run.config.training.batch_size
    source = SignalSource(data, data.n_train, size, "train", run.device, crew, run.ranks)
    validation = validation_source(data, run.device, crew, run.ranks)
    objective = new_objective(run.config, crew)
    outcome = Outcome("completed")
    while run.position.epoch <= run.n_epochs:
        if not train_epoch(run, source, objective, hooks, stop):
            return Outcome("interrupted", stop.reason, outcome.train, outcome.test)
        event = finish_epoch(run, validation, objective)
        hooks.epoch_ended(run, event)
        outcome = Outcome("completed", None, event.train, event.test)
        if not (math.isfinite(event.train["loss"]) or allow_nonfinite):
            reason = f"the training loss became {event.train['loss']} in epoch {event.epoch}"
            return Outcome("failed", f"{reason}; try a smaller learning rate", event.train)
        if stop.reason and run.position.epoch <= run.n_epochs:
            return Outcome("interrupted", stop.reason, event.train, event.test)
    return outcome


def validation_source(
    data: DataConfig, device: torch.device, crew: Crew = SOLO, ranks: Ranks = ALONE
) -> SignalSource:
    """Return the validation samples, in batches of bounded memory."""
    rows = max(1, VALIDATION_BUFFER_BYTES // (4 * data.d))
    return SignalSource(data, data.n_val, rows, "validation", device, crew, ranks)


def train_epoch(
    run: Run, source: SignalSource, objective: Objective, hooks: Hook, stop: Stop
) -> bool:
    """Take the remaining steps of the epoch at ``run.position``; return whether all were taken.

    Losses are summed on the device, so no step waits for the one before to come back.
    """
    position = run.position
    started = time.perf_counter()
    sums = torch.zeros(3, dtype=torch.float64, device=run.device)
    if run.ranks.is_writer:  # what was summed before an interruption is counted once
        sums += torch.tensor(position.sums, dtype=torch.float64, device=run.device)
    while position.step < source.n_batches:
        if stop.reason:
            break
        batch = source.batch(_data_epoch(position), position.step)
        sums += take_step(run, objective, batch) * len(batch)
        position.step += 1
        hooks.batch_ended(run)
    position.sums = tuple(run.ranks.sum(sums).tolist())
    position.train_seconds += time.perf_counter() - started
    return position.step == source.n_batches


def take_step(run: Run, objective: Objective, batch: Batch) -> Tensor:
    """Take one optimizer step; return loss_on, loss_off and penalty, float64 of shape (3,)."""
    run.optimizer.zero_grad()
    total, loss_on, loss_off = objective(run.model, batch) if len(batch) else _nothing(run.model)
    penalty = weight_penalty(run)
    (total + penalty).backward()
    run.ranks.average_gradients(run.model.parameters(), batch.share)
    run.optimizer.step()
    terms: Tensor = torch.stack([loss_on, loss_off, penalty]).detach().double()
    return terms


def _nothing(model: TwoLayerNet) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of a rank without samples: a small batch leaves some without."""
    total = sum((parameter * 0).sum() for parameter in model.parameters())
    assert isinstance(total, Tensor)
    return total, total.detach(), total.detach()


def weight_penalty(run: Run) -> Tensor:
    """Return the regularisation term: weights only, not biases."""
    training, model = run.config.training, run.model
    penalty: Tensor = model.fc1.weight.new_zeros(())
    for factor, layer in (
        (training.encoder_regularization, model.fc1),
        (training.decoder_regularization, model.fc2),
    ):
        if factor:
            penalty = penalty + factor * layer.weight.square().sum()
    return penalty


def finish_epoch(run: Run, validation: SignalSource, objective: Objective) -> EpochEnded:
    """Evaluate, move the position to the next epoch, and return the event of the one that ended."""
    position, n_train = run.position, run.config.data.n_train
    loss_on, loss_off, penalty = (total / n_train for total in position.sums)
    scaled_loss = loss_on + loss_off
    train: Metrics = {
        "loss": scaled_loss + penalty,
        "scaled_loss": scaled_loss,
        "loss_on": loss_on,
        "loss_off": loss_off,
    }
    started = time.perf_counter()
    test = evaluate(run, validation, objective)
    test_seconds = time.perf_counter() - started
    event = EpochEnded(
        at=utc_now(),
        epoch=position.epoch,
        trace=position.trace,
        train=train,
        test=test,
        timing=Timing(
            train_seconds=position.train_seconds,
            test_seconds=test_seconds,
            emit_seconds=0.0,
            samples_per_second=n_train / max(position.train_seconds, 1e-9),
            peak_memory_bytes=peak_memory_bytes(run.device),
        ),
    )
    run.position = Position(epoch=position.epoch + 1, trace=position.trace)
    return event


@torch.no_grad()
def evaluate(run: Run, validation: SignalSource, objective: Objective) -> Metrics:
    """Return the means over the validation samples; they are the same at every epoch."""
    sums = torch.zeros(2, dtype=torch.float64, device=run.device)
    for step in range(validation.n_batches):
        batch = validation.batch(0, step)
        _, loss_on, loss_off = objective(run.model, batch) if len(batch) else _nothing(run.model)
        sums += torch.stack([loss_on, loss_off]).double() * len(batch)
    on, off = (run.ranks.sum(sums) / validation.n_samples).tolist()
    return {"scaled_loss": on + off, "loss_on": on, "loss_off": off}


def peak_memory_bytes(device: torch.device) -> int:
    """Return the highest memory so far: of the GPU's allocator, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        # Not Linux. (On Linux ru_maxrss begins with the parent's peak, so it is not used there.)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _data_epoch(position: Position) -> int:
    """Return the epoch's number in the data stream: every trace has data of its own."""
    offset = 0 if position.trace is None else (position.trace + 1) << 32
    return position.epoch + offset
