"""The stages of a run, from the first event to the last.

Stage one trains encoder and decoder. With ``two_stage_training``, stage two asks whether the blobs
are all that matters: encoders are drawn with independent entries from a mixture fitted to the
encoder weights of stage one, frozen, and a fresh decoder is trained on each.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from trainer.checkpoints import freeze_encoder, save_weights
from trainer.data import stream_seed
from trainer.hooks import Hook
from trainer.loop import train
from trainer.mixture import fit_mixture
from trainer.model import new_model
from trainer.ranks import Stop
from trainer.run import Outcome, Position, Run


def train_stages(run: Run, hooks: Hook, stop: Stop, *, allow_nonfinite: bool = False) -> Outcome:
    """Train what the configuration asks for and tell the hooks how it ended.

    Raises:
        BaseException: Whatever training raises, after the hooks were told.
    """
    hooks.run_started(run)
    try:
        outcome = _train_all(run, hooks, stop, allow_nonfinite)
    except BaseException as error:
        hooks.run_failed(run, error)
        raise
    hooks.run_finished(run, outcome)
    return outcome


def _train_all(run: Run, hooks: Hook, stop: Stop, allow_nonfinite: bool) -> Outcome:
    outcome = _train_stage(run, hooks, stop, allow_nonfinite)
    while outcome.status == "completed" and (trace := _next_trace(run)) is not None:
        if run.mixture is None:
            run.mixture = fit_mixture(run.model.fc1.weight, run.config.training.num_clusters)
            run.encoder_bias = float(run.model.fc1.bias.detach().mean())
        begin_trace(run, trace)
        hooks.trace_started(run, run.mixture)
        outcome = _train_stage(run, hooks, stop, allow_nonfinite)
    return outcome


def _train_stage(run: Run, hooks: Hook, stop: Stop, allow_nonfinite: bool) -> Outcome:
    """Train what is left of the stage at work and keep its weights."""
    outcome = train(run, hooks, stop, allow_nonfinite=allow_nonfinite)
    if outcome.status == "completed" and run.config.save_model and run.ranks.is_writer:
        trace = run.position.trace
        name = run.folder.model if trace is None else run.folder.trace(trace)
        try:
            save_weights(run, name)
        except OSError as error:
            return replace(outcome, status="failed", reason=f"{error}; --resume writes it")
    return outcome


def is_finished(run: Run) -> bool:
    """Return whether all stages of the run are trained."""
    training = run.config.training
    if run.position.epoch <= run.n_epochs:
        return False
    last = training.num_traces - 1
    return not training.two_stage_training or run.position.trace == last


def _next_trace(run: Run) -> int | None:
    if is_finished(run):
        return None
    return 0 if run.position.trace is None else run.position.trace + 1


def begin_trace(run: Run, trace: int) -> None:
    """Give the run a frozen encoder drawn from its mixture, and a fresh decoder.

    Hidden units of independent draws have no identity, so the encoder's bias is that of stage one
    averaged over the units.
    """
    assert run.mixture is not None
    seed = stream_seed(run.config.data.seed, "weights", trace + 1, 1)
    generator = torch.Generator().manual_seed(seed)
    run.model = new_model(run.config, run.device, stream=trace + 1)
    with torch.no_grad():
        encoder = run.mixture.draw(tuple(run.model.fc1.weight.shape), generator)
        run.model.fc1.weight.copy_(encoder)
        run.model.fc1.bias.fill_(run.encoder_bias)
    run.position = Position(trace=trace)
    freeze_encoder(run)
