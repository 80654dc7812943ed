"""Opening a run that several ranks share: rank 0 has the files and tells the others.

What the others need goes through `Ranks.share`: a description, and the checkpoint to begin from.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from diagnostics.contract.endpoint import Endpoint
from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.folder import RunFolder
from trainer.checkpoints import load_checkpoint, restore
from trainer.config import ExperimentConfig, validate
from trainer.hardware import choose_device
from trainer.hooks import Hooks
from trainer.model import new_model
from trainer.opening import OpenRun, open_existing, open_new
from trainer.optimizers import new_optimizer
from trainer.places import automatic_folder
from trainer.ranks import Ranks, Stop, is_restarted
from trainer.run import Outcome, Run
from trainer.stages import train_stages


class Announcement(msgspec.Struct, kw_only=True):
    """What rank 0 says of the run.

    Attributes:
        config: The configuration; None where the run cannot be opened.
        is_complete: Whether nothing is left to do.
    """

    config: dict[str, Any] | None = None
    is_complete: bool = False


def open_for_all(
    ranks: Ranks,
    config: ExperimentConfig,
    resumed: Path | None,
    overrides: Mapping[str, Any],
    endpoint: Endpoint | None,
) -> OpenRun:
    """Open a run as rank 0 and announce it.

    Args:
        ranks: The ranks.
        config: Of a new run. Where ``torchrun`` has started all ranks again, the run that it began
            is continued.
        resumed: Folder of a run that is to be continued instead.
        overrides: Changes to that run's configuration.
        endpoint: Where to listen for a diagnostics process over TCP.

    Raises:
        BlobwatchError: It cannot be opened; the others were told.
    """
    try:
        if resumed:
            opened = open_existing(resumed, overrides, endpoint)
        else:
            opened = _open_or_continue(config, endpoint)
    except BlobwatchError:
        ranks.share(msgspec.json.encode(Announcement()))
        raise
    run = opened.run
    run.ranks = ranks
    nested = msgspec.to_builtins(run.config)
    ranks.share(msgspec.json.encode(Announcement(config=nested, is_complete=opened.is_complete)))
    has_begun = run.folder.checkpoint.exists()
    ranks.share(run.folder.checkpoint.read_bytes() if has_begun else b"")
    return opened


def _open_or_continue(config: ExperimentConfig, endpoint: Endpoint | None) -> OpenRun:
    root = Path(config.output_dir) if config.output_dir else automatic_folder(config)
    if is_restarted() and RunFolder(root).config.is_file():
        return open_existing(root, {}, endpoint)
    return open_new(config, endpoint)


def follow(ranks: Ranks, stop: Stop, *, allow_nonfinite: bool) -> Outcome | None:
    """Train as one of the other ranks: no file is written.

    Returns:
        How it ended; None where rank 0 could not open the run.
    """
    said = msgspec.json.decode(ranks.share(None), type=Announcement)
    if said.config is None:
        return None
    config = validate(said.config, "rank 0")
    device = choose_device(config.data.device)
    model = new_model(config, device)
    run = Run(
        config=config,
        folder=RunFolder(Path(os.devnull)),
        run_id="",
        segment=0,
        device=device,
        model=model,
        optimizer=new_optimizer(config, model),
        ranks=ranks,
    )
    if checkpoint := ranks.share(None):
        restore(run, load_checkpoint(io.BytesIO(checkpoint)))
    if said.is_complete:
        return Outcome("completed")
    return train_stages(run, Hooks([]), stop, allow_nonfinite=allow_nonfinite)
