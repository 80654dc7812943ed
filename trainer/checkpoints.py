"""Checkpoints: everything that is needed to continue a run exactly where it stood."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
import torch

from diagnostics.contract.atomic import open_atomic
from diagnostics.contract.errors import UnreadableFileError
from diagnostics.contract.events import EpochEnded
from diagnostics.contract.trouble import Trouble
from trainer.hooks import Hook
from trainer.mixture import Mixture
from trainer.optimizers import new_optimizer
from trainer.run import Outcome, Position, Run

logger = logging.getLogger(__name__)

FORMAT = 1
MAX_SYNC_SHARE = 0.02
"""Share of the time that may be spent waiting for the disk; a kill loses nothing either way."""


class Checkpoint(msgspec.Struct, kw_only=True):
    """What ``checkpoint.pt`` holds.

    Attributes:
        format: Version of this layout.
        run_id: Random name of the run.
        segment: The process that wrote it.
        position: The next step to take.
        total_seconds: Wall time of the run so far.
        mixture: Stage two's mixture, as a dict; None before stage two.
        encoder_bias: Mean encoder bias of stage one.
        model: State of the network.
        optimizer: State of the optimizer.
        torch_rng: State of PyTorch's global CPU generator, for hooks that use it; training's own
            random numbers depend on (seed, epoch, step) alone.
    """

    format: int = FORMAT
    run_id: str
    segment: int
    position: Position
    total_seconds: float
    mixture: Mixture | None = None
    encoder_bias: float = 0.0
    model: dict[str, Any]
    optimizer: dict[str, Any]
    torch_rng: Any


class Secure(Protocol):
    """Asks the journal whether all that happened is in it."""

    def __call__(self, *, sync: bool) -> bool:
        """Return whether it is, and with ``sync`` whether it is on the disk."""
        ...


class Checkpointer(Hook):
    """Writes ``checkpoint.pt`` after every epoch and at the end."""

    def __init__(self, secure: Secure) -> None:
        """Start with a sync due: the first checkpoint reaches the disk.

        Args:
            secure: Says whether the journal is written (with ``sync``, on the disk) so far; a
                checkpoint that is ahead of it would make resuming skip epochs.
        """
        self._secure = secure
        self._synced_at = float("-inf")
        self._sync_seconds = 0.0
        self._trouble = Trouble()

    def epoch_ended(self, run: Run, event: EpochEnded) -> None:
        try:
            self._write(run)
            if run.config.training.save_epoch_checkpoints:
                save_weights(run, epoch_checkpoint(run.folder.root, event.epoch, event.trace))
        except OSError as error:
            if self._trouble.is_news():
                logger.warning("%s; training goes on, the last whole one stays", error)
        else:
            if self._trouble.is_over():
                logger.warning("%s: written again", run.folder.checkpoint)

    def run_finished(self, run: Run, outcome: Outcome) -> None:
        try:
            self._write(run, sync=True)
        except OSError as error:
            logger.error("%s; --resume continues from the last whole one", error)

    def _write(self, run: Run, *, sync: bool = False) -> None:
        started = time.monotonic()
        sync = sync or self._sync_seconds <= MAX_SYNC_SHARE * (started - self._synced_at)
        if self._secure(sync=sync):
            save_checkpoint(run, sync=sync)
        if sync:
            self._synced_at = time.monotonic()
            self._sync_seconds = self._synced_at - started


def epoch_checkpoint(root: Path, epoch: int, trace: int | None = None) -> Path:
    """Return the path of the weights of one epoch, ``checkpoints/epoch_0001.pth``."""
    name = f"epoch_{epoch:04d}.pth" if trace is None else f"trace_{trace:02d}_epoch_{epoch:04d}.pth"
    return root / "checkpoints" / name


def save_weights(run: Run, path: Path) -> None:
    """Write the network's state atomically, as `torch.save` does, weights only.

    Raises:
        OSError: It cannot be written; the message names the file.
    """
    _save(_on_host(run.model.state_dict()), path)


def save_checkpoint(run: Run, *, sync: bool = True) -> None:
    """Write ``checkpoint.pt`` atomically; see `save_weights`."""
    checkpoint = Checkpoint(
        run_id=run.run_id,
        segment=run.segment,
        position=run.position,
        total_seconds=run.total_seconds,
        mixture=run.mixture,
        encoder_bias=run.encoder_bias,
        model=_on_host(run.model.state_dict()),
        optimizer=_on_host(run.optimizer.state_dict()),
        torch_rng=torch.get_rng_state(),
    )
    content = {name: getattr(checkpoint, name) for name in checkpoint.__struct_fields__}
    for name in ("position", "mixture"):
        content[name] = msgspec.to_builtins(content[name])
    _save(content, run.folder.checkpoint, sync=sync)


def _save(content: Any, path: Path, *, sync: bool = True) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        with open_atomic(path, sync=sync) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        # PyTorch's writer hides the system's error behind one of its own.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(f"{path}: cannot write ({cause.strerror})") from None


def load_checkpoint(path: Path | IO[bytes]) -> Checkpoint:
    """Read ``checkpoint.pt``; tensors come to the CPU.

    Raises:
        UnreadableFileError: It is missing, damaged, or of another version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        content["position"] = msgspec.convert(content["position"], Position)
        content["mixture"] = msgspec.convert(content["mixture"], Mixture | None)
        checkpoint = Checkpoint(**content)
    except FileNotFoundError:
        raise UnreadableFileError(f"{path}: no such file; nothing can be resumed here") from None
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableFileError(f"{path}: not a checkpoint: {reason}") from None
    if checkpoint.format != FORMAT:
        raise UnreadableFileError(
            f"{path}: format {checkpoint.format}; this version reads {FORMAT}"
        )
    return checkpoint


def restore(run: Run, checkpoint: Checkpoint) -> None:
    """Bring a fresh run to the state of a checkpoint."""
    run.position, run.mixture = checkpoint.position, checkpoint.mixture
    run.encoder_bias = checkpoint.encoder_bias
    if run.position.trace is not None:
        freeze_encoder(run)
    run.model.load_state_dict(checkpoint.model)
    run.optimizer.load_state_dict(checkpoint.optimizer)
    torch.set_rng_state(checkpoint.torch_rng)
    run.seconds_before = checkpoint.total_seconds


def freeze_encoder(run: Run) -> None:
    """Let only the decoder be trained from here on, as in stage two."""
    run.model.fc1.requires_grad_(False)
    trace = run.position.trace
    run.optimizer = new_optimizer(run.config, run.model, 0 if trace is None else trace + 1)


def _on_host(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.detach().cpu()
    if isinstance(state, dict):
        return {key: _on_host(value) for key, value in state.items()}
    return [_on_host(item) for item in state] if isinstance(state, list) else state
