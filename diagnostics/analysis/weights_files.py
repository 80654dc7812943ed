"""Where saved weights are: the files of a run's folder, or one file.

A run keeps ``model.pth`` and ``checkpoints/epoch_0001.pth``, and of each trace of stage two
``trace_00.pth`` and ``checkpoints/trace_00_epoch_0001.pth``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from diagnostics.analysis.run_results import history_of, run_results
from diagnostics.contract.errors import BlobwatchError, UnreadableFileError
from diagnostics.contract.folder import RunFolder

NAME = re.compile(r"(?:trace_(\d+))?_?(?:epoch_(\d+))?\.(?:pth|pt|npz)")
SUFFIXES = (".npz", ".pth", ".pt")


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file with weights in it; the epoch, and the trace of stage two, that its name tells."""

    path: Path
    epoch: int | None = None
    trace: int | None = None


def find_weights(path: Path, epochs: str = "last", trace: int | None = None) -> list[WeightsFile]:
    """Return the files with the weights to analyse, in the order of their epochs.

    Args:
        path: A run's folder or a file.
        epochs: ``last``; ``all`` for every saved epoch; or numbers such as ``3,10``.
        trace: Trace of stage two; None for stage one.

    Raises:
        BlobwatchError: There are no such weights; the message says what there is.
    """
    if path.is_file():
        if epochs != "last" or trace is not None:
            option = f"--trace {trace}" if epochs == "last" else f"--epochs {epochs}"
            raise BlobwatchError(f"{path}: {option} needs a run's folder, not a file")
        return [_named(path)]
    wanted = None if epochs in ("last", "all") else _numbers(epochs)
    saved = saved_epochs(path, trace)
    if epochs == "last":
        return [_last(path, saved, trace)]
    if not saved:
        of_trace = "" if trace is None else f" of trace {trace}"
        raise BlobwatchError(
            f"{path}: no saved epochs{of_trace}; set training.save_epoch_checkpoints to keep them"
        )
    return saved if wanted is None else _chosen(path, saved, wanted)


def saved_epochs(folder: Path, trace: int | None = None) -> list[WeightsFile]:
    """Return the epochs of one stage or trace that are kept under ``checkpoints/``, in order."""
    if not (folder / "checkpoints").is_dir():
        return []
    found = [_named(path) for path in (folder / "checkpoints").iterdir()]
    of_stage = [file for file in found if file.epoch is not None and file.trace == trace]
    return sorted(of_stage, key=lambda file: file.epoch or 0)


def _named(path: Path) -> WeightsFile:
    match = NAME.fullmatch(path.name)
    trace, epoch = (None if n is None else int(n) for n in match.groups()) if match else (None,) * 2
    return WeightsFile(path, epoch, trace)


def _last(path: Path, saved: list[WeightsFile], trace: int | None) -> WeightsFile:
    folder = RunFolder(path)
    model = folder.model if trace is None else folder.trace(trace)
    if model.is_file():
        return WeightsFile(model, _final_epoch(folder, trace), trace)
    if folder.checkpoint.is_file() and trace is None:
        return WeightsFile(folder.checkpoint)
    if saved:
        return saved[-1]
    lacks = "no model.pth, no checkpoint.pt" if trace is None else f"no {model.name}"
    raise BlobwatchError(f"{path}: no weights here ({lacks})")


def _final_epoch(folder: RunFolder, trace: int | None) -> int | None:
    """The epoch of the final weights, which do not say it: the last in the run's results."""
    try:
        results = run_results(folder.root)
        ended = results["final_metrics"] is not None  # else the last epochs may be missing
        return int(history_of(results, trace)[-1]["epoch"]) if ended else None
    except (OSError, UnreadableFileError, LookupError, TypeError, ValueError):
        return None


def _numbers(epochs: str) -> list[int]:
    try:
        return sorted({int(word) for word in epochs.split(",")})
    except ValueError:
        raise BlobwatchError(
            f"--epochs {epochs}: accepted are all, last, and numbers such as 3,10"
        ) from None


def _chosen(path: Path, saved: list[WeightsFile], wanted: list[int]) -> list[WeightsFile]:
    known = {file.epoch: file for file in saved}
    if missing := [epoch for epoch in wanted if epoch not in known]:
        raise BlobwatchError(
            f"{path}: epoch {missing[0]} is not saved; there are"
            f" {saved[0].epoch} to {saved[-1].epoch} ({len(saved)} epochs)"
        )
    return [known[epoch] for epoch in wanted]
