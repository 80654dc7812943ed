"""Weights from files: a run's, a checkpoint's, or those that another program wrote.

Shapes: ``hidden`` hidden units, ``d`` inputs.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.contract import strictjson
from diagnostics.contract.errors import BlobwatchError, UnreadableFileError
from diagnostics.contract.folder import RunFolder
from diagnostics.weights import encoder_decoder

Floats = NDArray[np.float32]
EPOCH_NAME = re.compile(r"epoch_(\d+)\.(?:pth|pt|npz)")
SUFFIXES = (".npz", ".pth", ".pt")
NESTED_STATES = ("model", "state_dict", "model_state_dict")
WRAPPERS = ("module.", "_orig_mod.")
"""What data-parallel and compiled modules put before the names of their weights."""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file with weights in it, and the epoch that its name tells."""

    path: Path
    epoch: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SavedWeights:
    """The weights of one file.

    Attributes:
        path: The file.
        epoch: The epoch that they are of, where the file or its name tells.
        encoder: float32 of shape (hidden, d).
        decoder: float32 of shape (d, hidden).
        encoder_bias: float32 of shape (hidden,); None where the file has none.
        decoder_bias: float32 of shape (d,); None where the file has none.
    """

    path: Path
    epoch: int | None
    encoder: Floats
    decoder: Floats
    encoder_bias: Floats | None = None
    decoder_bias: Floats | None = None


def find_weights(path: Path, epochs: str = "last") -> list[WeightsFile]:
    """Return the files with the weights to analyse, in the order of their epochs.

    Args:
        path: A run's folder or a file.
        epochs: ``last``; ``all`` for every saved epoch; or numbers such as ``3,10``.

    Raises:
        BlobwatchError: There are no such weights; the message says what there is.
    """
    if path.is_file():
        match = EPOCH_NAME.fullmatch(path.name)
        if epochs != "last":
            raise BlobwatchError(f"{path}: --epochs {epochs} needs a run's folder, not a file")
        return [WeightsFile(path, int(match[1]) if match else None)]
    saved = saved_epochs(path)
    if epochs == "last":
        folder = RunFolder(path)
        if folder.model.is_file():
            return [WeightsFile(folder.model, _final_epoch(folder))]
        if folder.checkpoint.is_file():
            return [WeightsFile(folder.checkpoint)]
        if saved:
            return saved[-1:]
        raise BlobwatchError(f"{path}: no weights here (no model.pth, no checkpoint.pt)")
    if not saved:
        raise BlobwatchError(
            f"{path}: no saved epochs; set training.save_epoch_checkpoints to keep them"
        )
    return saved if epochs == "all" else _chosen(path, saved, epochs)


def saved_epochs(folder: Path) -> list[WeightsFile]:
    """Return the epochs that a run has kept under ``checkpoints/``, in order."""
    found = []
    if (folder / "checkpoints").is_dir():
        for path in (folder / "checkpoints").iterdir():
            if match := EPOCH_NAME.fullmatch(path.name):
                found.append(WeightsFile(path, int(match[1])))
    return sorted(found, key=lambda file: file.epoch or 0)


def load_weights(file: WeightsFile) -> SavedWeights:
    """Read the weights of one file; nothing in it is executed.

    An NPZ file, or what ``torch.save`` wrote: a state dict, or a mapping that holds one under
    ``model``, ``state_dict`` or ``model_state_dict``.

    Raises:
        UnreadableFileError: It cannot be read, or has no fitting ``fc1.weight`` and ``fc2.weight``.
    """
    content = _load_npz(file.path) if _is_npz(file.path) else _load_torch(file.path)
    state = _state_of(content)
    try:
        encoder, decoder = (_to_float32(w) for w in encoder_decoder(state))
        encoder, decoder = encoder_decoder(encoder, decoder)
        biases = [
            None if key not in state else _to_float32(state[key])
            for key in ("fc1.bias", "fc2.bias")
        ]
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableFileError(f"{file.path}: {reason}") from None
    if not encoder.size:
        raise UnreadableFileError(f"{file.path}: no weights in it (fc1.weight is {encoder.shape})")
    shapes = [None if bias is None else bias.shape for bias in biases]
    if shapes[0] not in (None, encoder.shape[:1]) or shapes[1] not in (None, decoder.shape[:1]):
        raise UnreadableFileError(f"{file.path}: biases of shape {shapes} do not fit the weights")
    epoch = file.epoch if file.epoch is not None else _epoch_of(content)
    return SavedWeights(file.path, epoch, encoder, decoder, *biases)


def _final_epoch(folder: RunFolder) -> int | None:
    """The epoch of ``model.pth``, which does not say it: the last in the run's results."""
    try:
        results = strictjson.decode(folder.results.read_bytes(), folder.results)
        return int(results["final_metrics"]["epoch"])
    except (OSError, UnreadableFileError, KeyError, TypeError, ValueError):
        return None  # no results, or those of a run that has not ended


def _chosen(path: Path, saved: list[WeightsFile], epochs: str) -> list[WeightsFile]:
    known = {file.epoch: file for file in saved}
    try:
        wanted = sorted({int(word) for word in epochs.split(",")})
    except ValueError:
        raise BlobwatchError(
            f"--epochs {epochs}: accepted are all, last, and numbers such as 3,10"
        ) from None
    if missing := [epoch for epoch in wanted if epoch not in known]:
        raise BlobwatchError(
            f"{path}: epoch {missing[0]} is not saved; there are"
            f" {saved[0].epoch} to {saved[-1].epoch} ({len(saved)} epochs)"
        )
    return [known[epoch] for epoch in wanted]


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot read: {error.strerror or error}") from None
    except zipfile.BadZipFile:
        return False  # torch.save's old format is no zip file


def _load_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UnreadableFileError(f"{path}: not a readable NPZ file: {error}") from None


def _load_torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if type(error).__name__ == "UnpicklingError":  # PyTorch tells how to switch safety off
            reason = "neither NPZ nor tensors alone, as torch.save writes them"
        raise UnreadableFileError(f"{path}: not a file of weights: {reason}") from None


def _state_of(content: Any) -> dict[str, Any]:
    """The mapping that has the weights, with plain names."""
    if not isinstance(content, Mapping):
        return {}
    for key in NESTED_STATES:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {}
    for key, value in content.items():
        name = str(key)
        while name.startswith(WRAPPERS):
            name = name.removeprefix(WRAPPERS[0]).removeprefix(WRAPPERS[1])
        state[name] = value
    return state


def _epoch_of(content: Any) -> int | None:
    """The epoch that a checkpoint has completed, else None."""
    if not isinstance(content, Mapping):
        return None
    position = content.get("position")
    if isinstance(position, Mapping) and isinstance(position.get("epoch"), int):
        return int(position["epoch"]) - 1
    return content["epoch"] if isinstance(content.get("epoch"), int) else None


def _to_float32(weight: Any) -> Floats:
    if not isinstance(weight, np.ndarray):
        weight = weight.detach().cpu().float().numpy()
    if weight.dtype.kind not in "fiu":
        raise ValueError(f"weights must be real numbers, got {weight.dtype}")
    return np.asarray(weight, dtype=np.float32)
