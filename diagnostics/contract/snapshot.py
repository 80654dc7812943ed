"""The snapshot of the weights that travels with an epoch, in parts.

Shapes: ``hidden`` hidden units, ``d`` inputs; a weight pair is (encoder[i, j], decoder[j, i]), and
there are ``hidden * d`` of them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from diagnostics.contract.density import DensityGrid, build_density
from diagnostics.contract.regular import read_regular

Part = Literal["pairs", "density", "weights"]
PARTS: tuple[Part, ...] = ("pairs", "density", "weights")
Floats = NDArray[np.float32]


class ArrayLayout(msgspec.Struct, frozen=True):
    """How to read a raw frame: its name, NumPy dtype string and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class SnapshotHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The typed part of a snapshot; the raw frames follow in the order of ``arrays``.

    Attributes:
        arrays: Layout of each frame.
        n_pairs: Number of weight pairs that the network has.
        n_samples: Number of pairs of the sample.
        seed: Seed of the sample, so that it can be drawn where the weights arrive.
        derived: Parts that are to be made of the weights, which came in their place.
        density: Bin edges and exact moments of the density grid, if that part is there.
        dropped: Why parts are missing, or None.
    """

    arrays: tuple[ArrayLayout, ...] = ()
    n_pairs: int = 0
    n_samples: int = 0
    seed: int = 0
    derived: tuple[Part, ...] = ()
    density: dict[str, Any] | None = None
    dropped: str | None = None


class Snapshot:
    """What a diagnostic sees of the weights after an epoch.

    Pairs and density are made from the weights where those came in their place.
    """

    def __init__(self, header: SnapshotHeader, frames: Collection[bytes | memoryview]) -> None:
        """Wrap raw frames; nothing is copied.

        Raises:
            ValueError: The frames do not have the layout that the header gives.
        """
        if len(frames) != len(header.arrays):
            raise ValueError(f"{len(header.arrays)} frames announced, {len(frames)} came")
        self.header = header
        self._arrays = {
            layout.name: _view(layout, frame)
            for layout, frame in zip(header.arrays, frames, strict=True)
        }
        self._density: DensityGrid | None = None

    def __contains__(self, part: str) -> bool:
        return ("encoder" if part == "weights" else part) in {*self._arrays, *self.header.derived}

    @property
    def n_pairs(self) -> int:
        """Number of weight pairs that the network has (not of those sampled)."""
        return self.header.n_pairs

    @property
    def pairs(self) -> Floats:
        """Sampled weight pairs, without replacement; float32 of shape (n_samples, 2)."""
        if "pairs" not in self._arrays and "pairs" in self:
            generator = np.random.default_rng(self.header.seed)
            self._arrays["pairs"] = sample_pairs(
                self.encoder, self.decoder, self.header.n_samples, generator
            )
        return self._part("pairs", "pairs")

    @property
    def encoder(self) -> Floats:
        """Encoder weights W1; float32 of shape (hidden, d)."""
        return self._part("encoder", "weights")

    @property
    def decoder(self) -> Floats:
        """Decoder weights W2; float32 of shape (d, hidden)."""
        return self._part("decoder", "weights")

    @property
    def density(self) -> DensityGrid:
        """The density grid of all pairs, with exact moments."""
        if self._density is None and "density" not in self._arrays and "density" in self:
            self._density = build_density(self.encoder, self.decoder)
        if self._density is None:
            counts = self._part("density", "density")
            self._density = DensityGrid.from_parts(self.header.density or {}, counts)
        return self._density

    def _part(self, array: str, part: str) -> NDArray[Any]:
        if array not in self._arrays:
            raise KeyError(f"the snapshot has no {part}; name it in the diagnostic's needs")
        return self._arrays[array]


def take_parts(
    encoder: Any, decoder: Any, parts: Collection[str], *, n_samples: int, seed: int
) -> tuple[SnapshotHeader, list[memoryview]]:
    """Compute the parts of a snapshot from the weights.

    Args:
        encoder: Array or tensor of shape (hidden, d).
        decoder: Array or tensor of shape (d, hidden).
        parts: Names out of `PARTS`.
        n_samples: How many pairs to sample for ``pairs``; all if there are fewer.
        seed: Seed of the sample.

    Returns:
        The header and the raw frames.
    """
    arrays: dict[str, NDArray[Any]] = {}
    density = None
    n_pairs = int(encoder.shape[0] * encoder.shape[1])
    if "pairs" in parts:
        arrays["pairs"] = sample_pairs(encoder, decoder, n_samples, np.random.default_rng(seed))
    if "density" in parts:
        density, arrays["density"] = build_density(encoder, decoder).to_parts()
    if "weights" in parts:
        arrays["encoder"] = to_numpy(encoder)
        arrays["decoder"] = to_numpy(decoder)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = SnapshotHeader(
        arrays=tuple(ArrayLayout(n, a.dtype.str, a.shape) for n, a in contiguous.items()),
        n_pairs=n_pairs,
        n_samples=n_samples,
        seed=seed,
        density=density,
    )
    return header, [array.data.cast("B") for array in contiguous.values()]


def sample_pairs(
    encoder: Any, decoder: Any, n_samples: int, generator: np.random.Generator
) -> Floats:
    """Return weight pairs drawn uniformly without replacement.

    Args:
        encoder: Array or tensor of shape (hidden, d).
        decoder: Array or tensor of shape (d, hidden).
        n_samples: Number of pairs; all pairs, in order, if there are not more.
        generator: Where the randomness comes from; training's generators are never touched.

    Returns:
        float32 array of shape (n, 2): encoder weight, decoder weight.
    """
    hidden, d = encoder.shape
    n_pairs = int(hidden * d)
    if n_samples >= n_pairs:
        columns = to_numpy(encoder).ravel(), to_numpy(decoder).T.ravel()
    else:
        index = generator.choice(n_pairs, n_samples, replace=False, shuffle=False)
        i, j = np.divmod(index, d)
        columns = to_numpy(encoder[i, j]), to_numpy(decoder[j, i])
    return np.stack(columns, axis=1).astype(np.float32, copy=False)


def to_numpy(array: Any) -> Floats:
    """Return an array or tensor, wherever it lives, as float32 on the host."""
    if isinstance(array, np.ndarray):
        return array.astype(np.float32, copy=False)
    return array.detach().float().cpu().numpy()  # type: ignore[no-any-return]


def snapshot_name(epoch: int, trace: int | None) -> str:
    """Return the file name of an epoch's snapshot; names sort in the order of the epochs."""
    return f"{0 if trace is None else trace + 1:04d}-{epoch:08d}.snapshot"


def pack_snapshot(header: SnapshotHeader, frames: Collection[bytes | memoryview]) -> bytes:
    """Return a snapshot as one piece of memory of its own, as it stands in a file."""
    head = msgspec.msgpack.encode(header)
    return b"".join([len(head).to_bytes(4, "little"), head, *frames])


def unpack_snapshot(packed: bytes) -> tuple[SnapshotHeader, list[memoryview]]:
    """Inverse of `pack_snapshot`; the frames are views.

    Raises:
        ValueError: The bytes are damaged.
    """
    data = memoryview(packed)
    start = 4 + int.from_bytes(data[:4], "little")
    try:
        header = msgspec.msgpack.decode(data[4:start], type=SnapshotHeader)
    except msgspec.DecodeError as error:
        raise ValueError(f"damaged snapshot: {error}") from None
    frames = []
    for layout in header.arrays:
        end = start + _numeric(layout.dtype).itemsize * int(np.prod(layout.shape, dtype=int))
        frames.append(data[start:end])
        start = end
    if start != len(data):
        raise ValueError(f"damaged snapshot: {len(data)} bytes where {start} belong")
    return header, frames


def read_snapshot(path: Path) -> tuple[SnapshotHeader, list[memoryview]]:
    """Read a packed snapshot from a file.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: The file is damaged.
    """
    packed = read_regular(path)
    try:
        return unpack_snapshot(packed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _view(layout: ArrayLayout, frame: bytes | memoryview) -> NDArray[Any]:
    if any(n < 0 for n in layout.shape):
        raise ValueError(f"{layout.name}: a shape has no negative sizes: {layout.shape}")
    return np.frombuffer(frame, dtype=_numeric(layout.dtype)).reshape(layout.shape)


def _numeric(dtype: str) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"a frame holds numbers only: {error}") from None
    if kind.kind not in "fiu":
        raise ValueError(f"a frame holds numbers only, not {dtype}")
    return kind
