"""Opening a run: a new folder, or one where a run is to be continued."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from diagnostics.contract import strictjson
from diagnostics.contract.atomic import TEMPORARY_SUFFIX, remove_leftovers, write_atomic
from diagnostics.contract.endpoint import Endpoint
from diagnostics.contract.errors import BlobwatchError, UnreadableFileError
from diagnostics.contract.events import AnyEvent, EpochEnded, RunEnded, RunStarted, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import JournalWriter
from diagnostics.contract.locks import FolderLock
from trainer.checkpoints import load_checkpoint, restore
from trainer.config import ConfigError, ExperimentConfig, load_config
from trainer.emission.courier import Courier
from trainer.emission.emitter import Emitter
from trainer.emission.spool import Spool
from trainer.emission.supervisor import Supervisor
from trainer.hardware import build_model, check_precision, choose_device
from trainer.optimizers import new_optimizer
from trainer.places import new_folder
from trainer.run import Run
from trainer.stages import is_finished

logger = logging.getLogger(__name__)

SNAPSHOT_BUDGET_BYTES = 256 << 20
RESUMABLE_KEYS = ("training.epochs", "training.stage2_epochs", "data.device", "save_plots")


@dataclass(slots=True)
class OpenRun:
    """A run that is ready to train, with its lock held.

    Attributes:
        run: The run.
        emitter: Its first hook.
        is_complete: Whether a resumed run has nothing left to do.
    """

    run: Run
    emitter: Emitter
    lock: FolderLock
    is_complete: bool = False

    def close(self) -> None:
        """Give the folder back."""
        self.lock.release()


def open_new(config: ExperimentConfig, endpoint: Endpoint | None = None) -> OpenRun:
    """Create the folder of a new run and everything that training needs.

    Args:
        config: Its configuration.
        endpoint: Where diagnostics connect; None for the run's own socket.

    Raises:
        BlobwatchError: The folder cannot be used; no half-made folder stays behind.
    """
    device = choose_device(config.data.device)
    check_precision(config, device)
    model = build_model(config, device)
    root, is_ours = new_folder(config)
    folder = RunFolder(root)
    with contextlib.ExitStack() as undo:
        if is_ours:
            undo.callback(shutil.rmtree, root, ignore_errors=True)
        lock = undo.enter_context(_lock_of(folder))
        with _explained(root):
            if not is_ours:
                undo.callback(folder.journal.unlink, missing_ok=True)
            journal = JournalWriter(folder.journal)
            write_atomic(folder.config, strictjson.encode_indented(config))
            run = Run(
                config=config,
                folder=folder,
                run_id=secrets.token_hex(8),
                segment=0,
                device=device,
                model=model,
                optimizer=new_optimizer(config, model),
            )
            opened = OpenRun(run, _emitter(run, journal, endpoint), lock)
        undo.pop_all()
        return opened


@contextlib.contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Turn what the system refuses into one clear line."""
    try:
        yield
    except OSError as error:
        name = Path(os.fsdecode(error.filename2 or error.filename or root))
        if name.name.endswith(TEMPORARY_SUFFIX):
            name = name.parent  # what was to be replaced is not at fault, its folder is
        raise BlobwatchError(
            f"{name}: cannot write ({error.strerror}); make it writable, or take another folder"
        ) from None


def open_existing(
    root: Path, overrides: Mapping[str, Any], endpoint: Endpoint | None = None
) -> OpenRun:
    """Open the run in ``root`` to continue it where its last checkpoint stands.

    Args:
        root: The run's folder.
        overrides: Changes to its configuration; only more epochs, or another device, make sense.
        endpoint: As in `open_new`.

    Raises:
        BlobwatchError: There is no run, it is at work, or it cannot be continued like that.
    """
    folder = RunFolder(root)
    if not folder.config.is_file():
        raise BlobwatchError(f"{root}: no run to resume here (there is no config.json)")
    planned_epochs = load_config(folder.config).training.epochs
    config = _continued_config(folder, overrides)
    with contextlib.ExitStack() as undo:
        lock = undo.enter_context(_lock_of(folder))
        with _explained(root):
            opened = _continued(folder, config, planned_epochs, lock, endpoint)
        undo.pop_all()
        return opened


def _continued(
    folder: RunFolder,
    config: ExperimentConfig,
    planned_epochs: int,
    lock: FolderLock,
    endpoint: Endpoint | None,
) -> OpenRun:
    remove_leftovers(folder.root, folder.checkpoint.name)
    journal = JournalWriter(folder.journal)
    events = _events(journal)
    _check_epochs(folder, config, events)
    starts = [event for event in events if isinstance(event, RunStarted)]
    run_id = starts[-1].run_id if starts else secrets.token_hex(8)
    device = choose_device(config.data.device)
    check_precision(config, device)
    model = build_model(config, device)
    run = Run(
        config=config,
        folder=folder,
        run_id=run_id,
        segment=len(starts),
        device=device,
        model=model,
        optimizer=new_optimizer(config, model),
    )
    if not folder.checkpoint.exists() and any(isinstance(event, EpochEnded) for event in events):
        logger.warning("%s: is not there; training begins again at epoch 1", folder.checkpoint)
    if folder.checkpoint.exists():
        restore(run, load_checkpoint(folder.checkpoint))
        if run.position.trace is not None and config.training.epochs != planned_epochs:
            raise ConfigError(
                f"{folder.config}: training.epochs: cannot change once stage two has begun"
            )
    ended = bool(events) and isinstance(events[-1], RunEnded) and events[-1].status == "completed"
    is_complete = ended and is_finished(run)
    write_atomic(folder.config, strictjson.encode_indented(config))
    return OpenRun(run, _emitter(run, journal, endpoint), lock, is_complete)


def _check_epochs(folder: RunFolder, config: ExperimentConfig, events: list[AnyEvent]) -> None:
    """Refuse to plan fewer epochs than are recorded: what was trained cannot be taken back."""
    ended = [event for event in events if isinstance(event, EpochEnded)]
    stage2 = config.training.stage2_epochs or config.training.epochs
    for key, planned, recorded in (
        ("epochs", config.training.epochs, [e.epoch for e in ended if e.trace is None]),
        ("stage2_epochs", stage2, [e.epoch for e in ended if e.trace is not None]),
    ):
        if (n := max(recorded, default=0)) > planned:
            raise ConfigError(
                f"{folder.config}: training.{key} {planned}: {n} are trained already; take {n} or"
                " more, or start a new run"
            )


def _events(journal: JournalWriter) -> list[AnyEvent]:
    try:
        return [decode_event(payload) for payload in journal.payloads]
    except msgspec.DecodeError as error:
        raise UnreadableFileError(
            f"{journal.path}: an event that this version does not know: {error}"
        ) from None


def _continued_config(folder: RunFolder, overrides: Mapping[str, Any]) -> ExperimentConfig:
    before = msgspec.to_builtins(load_config(folder.config))
    config = load_config(folder.config, overrides)
    after = msgspec.to_builtins(config)
    changed = [
        f"{section}.{key}" if isinstance(before[section], dict) else section
        for section in before
        for key in (before[section] if isinstance(before[section], dict) else (section,))
        if (before[section][key] if isinstance(before[section], dict) else before[section])
        != (after[section][key] if isinstance(before[section], dict) else after[section])
    ]
    if refused := [key for key in changed if key not in RESUMABLE_KEYS]:
        raise ConfigError(
            f"{folder.config}: {', '.join(refused)}: cannot change when a run is resumed"
            f" (only {', '.join(RESUMABLE_KEYS)} can); start a new run instead"
        )
    return config


def _emitter(run: Run, journal: JournalWriter, endpoint: Endpoint | None) -> Emitter:
    folder = run.folder
    token = secrets.token_hex(16)
    write_atomic(folder.token, token.encode(), sync=False, mode=0o600)
    n_samples = run.config.training.diagnostic_sample_size
    if endpoint is None:
        address = folder.socket_address()
        _check_free(Path(address.removeprefix("ipc://")))
    else:
        address = endpoint.address
        _check_keys(endpoint)
    courier = Courier(
        journal,
        Spool(folder.snapshots, n_samples, SNAPSHOT_BUDGET_BYTES),
        address,
        token,
        Supervisor(folder, endpoint),
        memory_bytes=2 * SNAPSHOT_BUDGET_BYTES,
        endpoint=endpoint,
    )
    return Emitter(journal, courier)


def _check_keys(endpoint: Endpoint) -> None:
    """Read every key now: an error before training is better than one in the I/O thread."""
    _ = endpoint.trainer_secret, endpoint.trainer_public
    if not endpoint.allowed:
        raise BlobwatchError(f"{endpoint.keys}/allowed: lists no public key")


def _check_free(path: Path) -> None:
    """Refuse to listen where something else than a socket is: binding would delete a file."""
    if os.path.lexists(path) and not stat.S_ISSOCK(path.lstat().st_mode):
        raise BlobwatchError(f"{path}: must be a socket or free; remove what is there")


def _lock_of(folder: RunFolder) -> FolderLock:
    folder.make_private()
    return FolderLock(folder.trainer_lock, "a trainer")
