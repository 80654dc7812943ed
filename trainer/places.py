"""Where a new run lives: the folder that it was given, or one named after this moment."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.folder import RunFolder
from trainer.config import ExperimentConfig
from trainer.ranks import is_under_torchrun

STAMP_BYTES = len("_20260118_143022_99")


def new_folder(config: ExperimentConfig) -> tuple[Path, bool]:
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
