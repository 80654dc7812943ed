"""What is in a file of weights: a run's, a checkpoint, or one that another program wrote.

Shapes: ``hidden`` hidden units, ``d`` inputs.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.analysis.weights_files import WeightsFile
from diagnostics.contract.errors import UnreadableFileError
from diagnostics.weights import encoder_decoder

Floats = NDArray[np.float32]
NESTED_STATES = ("model", "state_dict", "model_state_dict")
WRAPPERS = ("module.", "_orig_mod.")
"""What data-parallel and compiled modules put before the names of their weights."""


@dataclass(frozen=True, slots=True, eq=False)
class SavedWeights:
    """The weights of one file.

    Attributes:
        path: The file.
        epoch: The epoch that they are of, where the file or its name tells.
        trace: The trace of stage two that they are of; None in stage one.
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
    trace: int | None = None


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
    epoch, trace = _position_of(content)
    if file.epoch is not None:
        epoch = file.epoch
    if file.trace is not None:
        trace = file.trace
    return SavedWeights(file.path, epoch, encoder, decoder, biases[0], biases[1], trace)


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
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableFileError(f"{path}: not a readable NPZ file: {error}") from None


def _load_torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnreadableFileError(
            f"{path}: not a file of weights: {_reason(path, error)}"
        ) from None


def _reason(path: Path, error: Exception) -> str:
    """Say in one line why ``torch.load`` refused a file; its own words help nobody here."""
    if path.stat().st_size == 0:
        return "it is empty"
    if "PytorchStreamReader" in str(error):
        return "damaged or cut off"
    if isinstance(error, RuntimeError | OSError | MemoryError):
        return (str(error).splitlines() or [type(error).__name__])[0]
    return "neither NPZ nor tensors alone, as torch.save writes them"


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


def _position_of(content: Any) -> tuple[int | None, int | None]:
    """The epoch that a checkpoint has completed and the trace that it is in, where it tells."""
    if not isinstance(content, Mapping):
        return None, None
    position = content.get("position")
    if isinstance(position, Mapping) and isinstance(position.get("epoch"), int):
        trace = position.get("trace")
        return position["epoch"] - 1, trace if isinstance(trace, int) else None
    epoch = content.get("epoch")
    return epoch if isinstance(epoch, int) else None, None


def _to_float32(weight: Any) -> Floats:
    if not isinstance(weight, np.ndarray):
        weight = weight.detach().cpu().float().numpy()
    if weight.dtype.kind not in "fiu":
        raise ValueError(f"weights must be real numbers, got {weight.dtype}")
    return np.asarray(weight, dtype=np.float32)
