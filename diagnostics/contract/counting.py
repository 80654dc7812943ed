"""All weight pairs as arrays, a block at a time: counted on a grid, and summed exactly.

The work happens where the weights live, in NumPy for arrays and CPU tensors and in torch for CUDA
tensors; only counts and sums come to the host. Torch is never imported: a tensor brings its own.
Shapes: encoder (H, D), decoder (D, H).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diagnostics.contract.axis import KEY_SHIFT, GridAxis

# Pairs handled at once. 32k pairs keep the temporaries inside a CPU's cache.
PAIRS_PER_BLOCK = 1 << 15
PAIRS_PER_COUNT = 1 << 18
PAIRS_PER_BLOCK_DEVICE = 1 << 22
# An axis's robust scale comes from a regular sub-lattice of at most this many rows and columns.
SCALE_SAMPLE_SIDE = 64
# Within these, differences and their bits keep all digits in float32.
SINGLE_MIN_SCALE, SINGLE_MAX = 1e-30, 1e30
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shift:
    """How one axis's weights become offsets: z = (x - center) / unit.

    Weights of single precision or less stay in single precision, in their own unit (1.0); others
    are taken in units of the axis's scale first.
    """

    center: float
    unit: float
    single: bool

    @classmethod
    def of(cls, weights: Any, axis: GridAxis, span: Span) -> Shift:
        single = (
            weights.dtype.itemsize <= 4
            and axis.scale > SINGLE_MIN_SCALE
            and max(map(abs, span)) < SINGLE_MAX
            and float(np.float32(axis.center)) == axis.center
        )
        return cls(axis.center, 1.0 if single else axis.scale, single)


@dataclass(frozen=True, slots=True)
class WeightPairs:
    """Both weights in one array namespace ``xp``: NumPy, or the tensors' own torch."""

    encoder: Any
    decoder: Any
    xp: Any

    @classmethod
    def of(cls, encoder: Any, decoder: Any) -> WeightPairs:
        """Check and wrap arrays or tensors.

        Raises:
            ValueError: if the shapes are not (H, D) and (D, H), or the two lie on two devices.
        """
        encoder, decoder = _as_plain_array(encoder), _as_plain_array(decoder)
        shapes = tuple(encoder.shape), tuple(decoder.shape)
        if len(shapes[0]) != 2 or shapes[1] != shapes[0][::-1]:
            raise ValueError(
                f"encoder {shapes[0]}, decoder {shapes[1]}: expected (hidden, d) and (d, hidden)"
            )
        n_arrays = isinstance(encoder, np.ndarray) + isinstance(decoder, np.ndarray)
        if n_arrays == 1:
            raise ValueError("encoder and decoder: one lies on the host and one on a device")
        return cls(encoder, decoder, np if n_arrays else sys.modules["torch"])

    def __len__(self) -> int:
        return math.prod(self.encoder.shape)

    def find_spans(self) -> tuple[int, list[Span]]:
        """The number of finite pairs, and each axis's lowest and highest value among them."""
        if len(self) == 0:
            return 0, [(0.0, 0.0)] * 2
        spans = [(float(w.min()), float(w.max())) for w in (self.encoder, self.decoder)]
        if all(math.isfinite(value) for span in spans for value in span):
            return len(self), spans
        # Somewhere a NaN or an infinity: look again, at the finite pairs only.
        n_pairs, low, high = 0, [math.inf] * 2, [-math.inf] * 2
        for block in self._blocks(all_finite=False):
            n_pairs += len(block[0])
            for k in range(2 if len(block[0]) else 0):
                low[k] = min(low[k], float(block[k].min()))
                high[k] = max(high[k], float(block[k].max()))
        if n_pairs == 0:
            return 0, [(0.0, 0.0)] * 2
        return n_pairs, list(zip(low, high, strict=True))

    def accumulate(
        self, axes: list[GridAxis], shifts: list[Shift], n_pairs: int
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64]]:
        """Counts (n_bins, n_bins) and the sums of x, y, xx, yy, xy of the offsets.

        Args:
            axes: the encoder's and the decoder's.
            shifts: the weights' offsets on them. Subtracting the axis's centre first keeps the
                sums exact under a large common offset.
            n_pairs: the number of finite pairs.
        """
        n_bins = axes[0].n_bins
        tables = self._cell_tables(axes, shifts)
        counts: Any = 0
        sums: Any = 0.0
        pending: list[Any] = []
        for block in self._blocks(all_finite=n_pairs == len(self)):
            offsets = [self._offsets(w, shift) for w, shift in zip(block, shifts, strict=True)]
            x, y = (self._float64(z) for z in offsets)
            # einsum, not x @ y: BLAS would wake threads that burn more CPU than the products.
            products = [self.xp.einsum("i,i->", *two) for two in ((x, x), (y, y), (x, y))]
            sums = sums + self.xp.stack([x.sum(), y.sum(), *products])
            rows, columns = (self._look_up(*one) for one in zip(tables, offsets, strict=True))
            rows += columns
            pending.append(rows)
            # Counting touches every cell, so it waits for more pairs than fit the cache.
            if sum(map(len, pending)) >= PAIRS_PER_COUNT:
                counts = counts + self._count(pending, n_bins * n_bins)
                pending = []
        if pending:
            counts = counts + self._count(pending, n_bins * n_bins)
        if isinstance(counts, int):
            return np.zeros((n_bins, n_bins), np.uint32), np.zeros(5)
        return _to_host(counts).astype(np.uint32).reshape(n_bins, n_bins), _to_host(sums)

    def _blocks(self, *, all_finite: bool) -> Iterator[tuple[Any, Any]]:
        """Vectors of matching encoder and decoder weights, a few hidden rows at a time.

        Pairs of which either weight is NaN or infinite are left out.
        """
        n_hidden, n_inputs = self.encoder.shape
        on_host = self.xp is np or self.encoder.device.type == "cpu"
        limit = PAIRS_PER_BLOCK if on_host else PAIRS_PER_BLOCK_DEVICE
        n_rows = max(1, limit // max(1, n_inputs))
        for start in range(0, n_hidden, n_rows):
            rows = slice(start, start + n_rows)
            x, y = self.encoder[rows].reshape(-1), self.decoder[:, rows].T.reshape(-1)
            if not all_finite:
                keep = self.xp.isfinite(x) & self.xp.isfinite(y)
                x, y = x[keep], y[keep]
            yield x, y

    def _offsets(self, weights: Any, shift: Shift) -> Any:
        """Offsets from the axis's centre, float32 or float64 (see :class:`Shift`)."""
        if shift.single:
            z = weights.astype(np.float32) if self.xp is np else weights.float()
            return z - shift.center
        return (self._float64(weights) - shift.center) * (1.0 / shift.unit)

    def _float64(self, values: Any) -> Any:
        return values.astype(np.float64) if self.xp is np else values.double()

    def _look_up(self, table: Any, offsets: Any) -> Any:
        """What a table of `GridAxis.bin_table` has under the keys of the offsets."""
        if self.xp is np:
            bits = offsets.astype(np.float32, copy=False).view(np.uint32)
            # Every key is inside; "clip" only is the fastest mode.
            return table.take(np.right_shift(bits, KEY_SHIFT, dtype=np.intp), mode="clip")
        # Shifted with their sign, the keys of negative offsets count from the end.
        return table[(offsets.float().view(self.xp.int32) >> KEY_SHIFT).long()]

    def _cell_tables(self, axes: list[GridAxis], shifts: list[Shift]) -> list[Any]:
        """Key to bin, the encoder's times the length of a row; two of them add up to a cell."""
        n_bins = axes[0].n_bins
        # The smallest type: what is touched of a table should stay in the cache.
        kind = np.min_scalar_type(n_bins * n_bins - 1) if self.xp is np else np.dtype(np.int32)
        tables = []
        for axis, shift, stride in zip(axes, shifts, (n_bins, 1), strict=True):
            bins, n_keys = axis.bin_table(shift.unit)
            tables.append(np.repeat((bins * stride).astype(kind), n_keys))
        if self.xp is np:
            return tables
        return [self.xp.from_numpy(table).to(self.encoder.device) for table in tables]

    def _count(self, cells: list[Any], n_cells: int) -> Any:
        return self.xp.bincount(self.xp.concatenate(cells), minlength=n_cells)


def scale_sample(weights: Any) -> npt.NDArray[np.float64]:
    """Finite values on a regular sub-lattice of the weights, (n,) float64 on the host."""
    steps = [max(1, size // SCALE_SAMPLE_SIDE) for size in weights.shape]
    lattice = weights[:: steps[0], :: steps[1]]
    sample = lattice if isinstance(lattice, np.ndarray) else lattice.double().cpu().numpy()
    sample = sample.astype(np.float64).ravel()
    return sample[np.isfinite(sample)]


def _as_plain_array(weights: Any) -> Any:
    """The weights without gradient; a CPU tensor as the NumPy array that shares its memory."""
    if not type(weights).__module__.startswith("torch"):
        array = np.asarray(weights)
        return array if array.dtype.kind == "f" else array.astype(np.float64)
    tensor = weights.detach()
    # NumPy has no bfloat16: such tensors stay in torch, as those on a device do.
    is_plain = tensor.device.type == "cpu" and "bfloat16" not in str(tensor.dtype)
    return _as_plain_array(tensor.numpy()) if is_plain else tensor


def _to_host(array: Any) -> npt.NDArray[Any]:
    return np.asarray(array if isinstance(array, np.ndarray) else array.cpu().numpy())
