"""Opening a run: a new folder, or one where a run is to be continued."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil
import torch

from diagnostics.contract import strictjson
from diagnostics.contract.atomic import remove_leftovers, write_atomic
from diagnostics.contract.endpoint import Endpoint
from diagnostics.contract.errors import BlobwatchError, UnreadableFileError
from diagnostics.contract.events import AnyEvent, RunEnded, RunStarted, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import JournalWriter
from diagnostics.contract.locks import FolderLock
from trainer.checkpoints import load_checkpoint, restore
from trainer.config import ConfigError, ExperimentConfig, load_config
from trainer.emission.courier import Courier
from trainer.emission.emitter import Emitter
from trainer.emission.spool import Spool
from trainer.emission.supervisor import Supervisor
from trainer.model import TwoLayerNet, new_model
from trainer.optimizers import new_optimizer
from trainer.ranks import is_under_torchrun
from trainer.run import Run
from trainer.stages import is_finished

logger = logging.getLogger(__name__)

SNAPSHOT_BUDGET_BYTES = 256 << 20
RESUMABLE_KEYS = ("training.epochs", "training.stage2_epochs", "data.device", "save_plots")
STAMP_BYTES = len("_20260118_143022_99")


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
    root, is_ours = _new_folder(config)
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
        name = error.filename2 or error.filename or root
        raise BlobwatchError(f"{name}: cannot write ({error.strerror})") from None


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


def build_model(config: ExperimentConfig, device: torch.device) -> TwoLayerNet:
    """Return a new network, or say that it cannot fit.

    Raises:
        ConfigError: Weights, gradients and Adam's two moments exceed the machine's memory.
    """
    n_bytes = 4 * 4 * 2 * config.model.hidden_size * config.data.d
    message = (
        f"model.hidden_size {config.model.hidden_size} times data.d {config.data.d}: training needs"
        f" {n_bytes / 2**30:,.1f} GiB for the weights alone, more than there is; make one smaller"
    )
    if n_bytes > psutil.virtual_memory().total:
        raise ConfigError(message)
    try:
        return new_model(config, device)
    except (RuntimeError, MemoryError):
        raise ConfigError(message) from None


def _lock_of(folder: RunFolder) -> FolderLock:
    folder.make_private()
    return FolderLock(folder.trainer_lock, "a trainer")


def _new_folder(config: ExperimentConfig) -> tuple[Path, bool]:
    """Create the folder of a run; an automatic name is made unique, a given one must be free.

    Returns:
        The folder, and whether it was not there before.
    """
    if config.output_dir is not None:
        root = Path(config.output_dir)
        if RunFolder(root).journal.exists() or RunFolder(root).results.exists():
            raise BlobwatchError(
                f"{root}: holds a run already; continue it with --resume {root}, or choose another"
                " --output-dir"
            )
        return root, _make_folder(root)
    first = automatic_folder(config)
    for number in range(1, 100):
        root = first if number == 1 else first.with_name(f"{first.name}_{number}")
        if _make_folder(root, exist_ok=False):
            return root, True
    raise BlobwatchError(f"{root}: exists, like 98 others of this second")


def automatic_folder(config: ExperimentConfig) -> Path:
    """Return the folder of a run that was given none: its name and this moment.

    Under ``torchrun`` it is the moment when that started, so that a restart finds the folder again.
    """
    stem = config.experiment_name.encode()[: 255 - STAMP_BYTES].decode(errors="ignore")
    moment = psutil.Process(os.getppid()).create_time() if is_under_torchrun() else time.time()
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(moment))
    return Path("experiments") / f"{stem}_{stamp}"


def _make_folder(root: Path, *, exist_ok: bool = True) -> bool:
    """Create the folder; return whether it was not there before."""
    try:
        root.mkdir(parents=True)
        return True
    except FileExistsError:
        if exist_ok and not root.is_dir():
            raise BlobwatchError(f"{root}: is a file; choose another --output-dir") from None
    except OSError as error:
        raise BlobwatchError(
            f"{root}: cannot create the folder ({error.strerror}); choose another --output-dir"
        ) from None
    if exist_ok and not os.access(root, os.W_OK | os.X_OK):
        raise BlobwatchError(f"{root}: cannot be written; choose another --output-dir")
    return False


def check_precision(config: ExperimentConfig, device: torch.device) -> None:
    """Warn where bf16 has no units of its own: there it is many times slower, not faster."""
    if config.training.precision != "bf16":
        return
    if device.type == "cuda":
        has_units = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known = torch.cpu.get_capabilities()
        has_units = any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    if not has_units:
        logger.warning(
            "training.precision 'bf16': this processor has no bf16 units: 'float32' is much faster"
        )


def choose_device(name: str) -> torch.device:
    """Return the device; where there is no such GPU, the CPU, with one clear line."""
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        logger.warning("no GPU for device %r: training on the CPU", name)
        return torch.device("cpu")
    return device
