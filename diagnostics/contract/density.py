"""The all-pairs density grid: every weight pair counted, with exact moments, in bounded memory.

Shapes used below: H hidden units, D inputs. The encoder (``fc1.weight``) is (H, D), the decoder
(``fc2.weight``) is (D, H); the pair (i, j) is (encoder[i, j], decoder[j, i]), H * D in all.

The work happens where the weights live, in NumPy for arrays and CPU tensors and in torch for CUDA
tensors, one block of hidden rows at a time; only the finished grid comes to the host. Torch is
never imported: a tensor brings its own.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

DEFAULT_N_BINS = 192
MAX_N_BINS = 4096
# Pairs handled at once. 64k pairs keep the float64 temporaries inside a CPU's cache.
PAIRS_PER_BLOCK = 1 << 15
PAIRS_PER_COUNT = 1 << 18
PAIRS_PER_BLOCK_DEVICE = 1 << 22
# An axis is linear up to about this many robust standard deviations and logarithmic beyond, so
# that a heavy tail costs few bins and a tight centre keeps its resolution.
LINEAR_REACH = 3.0
# An axis's robust scale comes from a regular sub-lattice of at most this many rows and columns.
SCALE_SAMPLE_SIDE = 64
COMPACT_VERSION = 1


@dataclass(frozen=True, slots=True)
class GridAxis:
    """How one axis's bins map to weight values.

    A weight ``x`` sits at ``u = LINEAR_REACH * asinh((x - center) / (LINEAR_REACH * scale))``;
    the bins divide ``[low, high]`` in ``u`` evenly.
    """

    center: float
    scale: float
    low: float
    high: float
    n_bins: int

    def values(self, positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Weight values at bin positions (0 is the lower edge of the first bin)."""
        u = self.low + np.asarray(positions, np.float64) * ((self.high - self.low) / self.n_bins)
        return self.center + self.scale * (LINEAR_REACH * np.sinh(u / LINEAR_REACH))

    def edges(self) -> npt.NDArray[np.float64]:
        """The ``n_bins + 1`` bin edges, in weight values."""
        return self.values(np.arange(self.n_bins + 1))

    def centers(self) -> npt.NDArray[np.float64]:
        """The middle of each bin, in weight values."""
        edges = self.edges()
        return 0.5 * (edges[1:] + edges[:-1])

    def widths(self) -> npt.NDArray[np.float64]:
        """The width of each bin, in weight values (0 where a whole axis is one value)."""
        return np.diff(self.edges())


@dataclass(frozen=True, slots=True, eq=False)
class DensityGrid:
    """Counts of all finite weight pairs on a grid, with moments exact to float64 rounding.

    Attributes:
        counts: (n_bins, n_bins) uint32; first index encoder, second index decoder.
        encoder_axis, decoder_axis: what the bins mean.
        n_pairs: finite pairs, the sum of ``counts``.
        n_nonfinite_pairs: pairs left out because either weight is NaN or infinite.
        encoder_mean ... decoder_max: statistics of the finite pairs (population standard
            deviation); None where there is no finite pair.
        correlation: Pearson's; None where it is undefined (an axis of one value, no pairs).
    """

    counts: npt.NDArray[np.uint32]
    encoder_axis: GridAxis
    decoder_axis: GridAxis
    n_pairs: int
    n_nonfinite_pairs: int
    encoder_mean: float | None
    encoder_std: float | None
    encoder_min: float | None
    encoder_max: float | None
    decoder_mean: float | None
    decoder_std: float | None
    decoder_min: float | None
    decoder_max: float | None
    correlation: float | None

    def to_parts(self) -> tuple[dict[str, Any], npt.NDArray[np.uint32]]:
        """Split into plain metadata and one array, for a message with a raw frame."""
        meta = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "counts"}
        meta["encoder_axis"] = asdict(self.encoder_axis)
        meta["decoder_axis"] = asdict(self.decoder_axis)
        return meta, self.counts

    @classmethod
    def from_parts(cls, meta: Mapping[str, Any], counts: npt.NDArray[np.uint32]) -> DensityGrid:
        """Inverse of :meth:`to_parts`.

        Raises:
            ValueError: if the metadata's fields or the counts' shape, type or total don't fit.
        """
        expected = {f.name for f in fields(cls)} - {"counts"}
        if set(meta) != expected:
            wrong = sorted(set(meta) ^ expected)
            raise ValueError(f"density grid metadata: missing or unknown fields {wrong}")
        axes = {name: GridAxis(**meta[name]) for name in ("encoder_axis", "decoder_axis")}
        shape = (axes["encoder_axis"].n_bins, axes["decoder_axis"].n_bins)
        if counts.dtype != np.uint32 or counts.shape != shape:
            raise ValueError(
                f"density grid counts: got {counts.dtype} {counts.shape}, expected uint32 {shape}"
            )
        if int(counts.sum(dtype=np.uint64)) != meta["n_pairs"]:
            raise ValueError(f"density grid counts: total is not n_pairs={meta['n_pairs']}")
        return cls(counts=counts, **{**meta, **axes})

    def compact(self) -> bytes:
        """Pack into bytes (tens of kilobytes) for keeping one grid an epoch on disk."""
        meta, counts = self.to_parts()
        # Counts are mostly small: with the four bytes in planes, three are nearly all zero.
        planes = np.ascontiguousarray(counts.astype("<u4").reshape(-1, 1).view(np.uint8).T)
        packed = {
            "version": COMPACT_VERSION,
            "meta": meta,
            "planes": zlib.compress(planes.tobytes(), 6),
        }
        return msgspec.msgpack.encode(packed)

    @classmethod
    def from_compact(cls, packed: bytes) -> DensityGrid:
        """Inverse of :meth:`compact`.

        Raises:
            ValueError: if the bytes are damaged or of another version.
        """
        try:
            content = msgspec.msgpack.decode(packed)
            if content["version"] != COMPACT_VERSION:
                raise ValueError(f"version {content['version']}, expected {COMPACT_VERSION}")
            meta = content["meta"]
            shape = (meta["encoder_axis"]["n_bins"], meta["decoder_axis"]["n_bins"])
            if not all(1 <= n_bins <= MAX_N_BINS for n_bins in shape):
                raise ValueError(f"{shape} bins; accepted: 1 to {MAX_N_BINS} on each axis")
            n_bytes = 4 * shape[0] * shape[1]
            # Bounded, so that damaged or hostile bytes cannot ask for all the memory.
            plain = zlib.decompressobj().decompress(content["planes"], n_bytes)
            planes = np.frombuffer(plain, np.uint8).reshape(4, -1)
            counts = np.ascontiguousarray(planes.T).view("<u4").reshape(shape).astype(np.uint32)
            return cls.from_parts(meta, counts)
        except (msgspec.DecodeError, KeyError, TypeError, zlib.error) as error:
            raise ValueError(f"not a compact density grid: {error!r}") from error


def build_density(encoder: Any, decoder: Any, *, n_bins: int = DEFAULT_N_BINS) -> DensityGrid:
    """Count every weight pair on a grid and take the exact moments, in bounded memory.

    Args:
        encoder: (H, D) array or tensor of a real floating type, on any device.
        decoder: (D, H), likewise and on the same device.
        n_bins: bins along each axis, a multiple of 32 (the smoothing halves the grid five times).

    Returns:
        The grid. A constant axis has all its edges at that constant and everything in its first
        bin; its standard deviation is 0 and the correlation None. Without any finite pair the
        counts are zero and the statistics None.

    Raises:
        ValueError: if the shapes are not (H, D) and (D, H) or ``n_bins`` is none of the accepted.
    """
    if not 32 <= n_bins <= MAX_N_BINS or n_bins % 32:
        raise ValueError(f"n_bins: got {n_bins}; accepted: multiples of 32 from 32 to {MAX_N_BINS}")
    pairs = _WeightPairs.of(encoder, decoder)
    with np.errstate(all="ignore"):  # float16 sums may overflow; every result is checked
        n_pairs, spans = pairs.find_spans()
        axes = [
            _fit_axis(_scale_sample(weights), span, n_bins)
            for weights, span in zip((pairs.encoder, pairs.decoder), spans, strict=True)
        ]
        counts, sums = pairs.accumulate(axes[0], axes[1])
    n_all = math.prod(pairs.encoder.shape)
    return DensityGrid(
        counts=counts.astype(np.uint32).reshape(n_bins, n_bins),
        encoder_axis=axes[0],
        decoder_axis=axes[1],
        n_pairs=n_pairs,
        n_nonfinite_pairs=n_all - n_pairs,
        **_moments(sums, n_pairs, axes, spans),
    )


@dataclass(frozen=True, slots=True)
class _WeightPairs:
    """Both weights in one array namespace ``xp``: NumPy, or the tensors' own torch."""

    encoder: Any
    decoder: Any
    xp: Any

    @classmethod
    def of(cls, encoder: Any, decoder: Any) -> _WeightPairs:
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

    def blocks(self) -> Iterator[tuple[Any, Any]]:
        """Float64 vectors of matching encoder and decoder weights, a few hidden rows at a time."""
        n_hidden, n_inputs = self.encoder.shape
        on_host = self.xp is np or self.encoder.device.type == "cpu"
        limit = PAIRS_PER_BLOCK if on_host else PAIRS_PER_BLOCK_DEVICE
        n_rows = max(1, limit // max(1, n_inputs))
        for start in range(0, n_hidden, n_rows):
            rows = slice(start, start + n_rows)
            both = self.encoder[rows], self.decoder[:, rows].T
            if self.xp is np:
                yield both[0].astype(np.float64).ravel(), both[1].astype(np.float64, "C").ravel()
            else:
                yield both[0].double().reshape(-1), both[1].double().reshape(-1)

    def find_spans(self) -> tuple[int, list[tuple[float, float]]]:
        """The number of finite pairs, and each axis's lowest and highest value among them."""
        n_all = math.prod(self.encoder.shape)
        if n_all == 0:
            return 0, [(0.0, 0.0)] * 2
        spans = [(float(w.min()), float(w.max())) for w in (self.encoder, self.decoder)]
        if all(math.isfinite(value) for span in spans for value in span):
            return n_all, spans
        # Somewhere a NaN or an infinity: look again, at the finite pairs only.
        n_pairs, low, high = 0, [math.inf] * 2, [-math.inf] * 2
        for block in self.finite_blocks():
            n_pairs += len(block[0])
            for k in range(2 if len(block[0]) else 0):
                low[k] = min(low[k], float(block[k].min()))
                high[k] = max(high[k], float(block[k].max()))
        if n_pairs == 0:
            return 0, [(0.0, 0.0)] * 2
        return n_pairs, list(zip(low, high, strict=True))

    def finite_blocks(self) -> Iterator[tuple[Any, Any]]:
        """:meth:`blocks` without the pairs of which either weight is NaN or infinite."""
        for x, y in self.blocks():
            # One sum is far cheaper than a mask. (If it overflows, the mask just changes nothing.)
            if math.isfinite(float(x.sum()) + float(y.sum())):
                yield x, y
            else:
                keep = self.xp.isfinite(x) & self.xp.isfinite(y)
                yield x[keep], y[keep]

    def accumulate(
        self, encoder_axis: GridAxis, decoder_axis: GridAxis
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
        """Counts (n_bins ** 2,) and the sums of x, y, xx, yy, xy in units of the axes' scales.

        Subtracting the axis's centre first keeps the sums exact under a large common offset.
        """
        n_bins = encoder_axis.n_bins
        counts: Any = 0
        sums: Any = 0.0
        pending: list[Any] = []
        for block in self.finite_blocks():
            x, y = block[0] - encoder_axis.center, block[1] - decoder_axis.center
            x *= 1.0 / encoder_axis.scale
            y *= 1.0 / decoder_axis.scale
            # einsum, not x @ y: BLAS would wake threads that burn more CPU than the products.
            products = [self.xp.einsum("i,i->", *two) for two in ((x, x), (y, y), (x, y))]
            sums = sums + self.xp.stack([x.sum(), y.sum(), *products])
            cells = self._bins(x, encoder_axis)
            cells *= n_bins
            cells += self._bins(y, decoder_axis)
            pending.append(cells)
            # Counting touches every bin, so it waits for more pairs than fit the cache.
            if sum(map(len, pending)) >= PAIRS_PER_COUNT:
                counts = counts + self._count(pending, n_bins)
                pending = []
        if pending:
            counts = counts + self._count(pending, n_bins)
        if isinstance(counts, int):
            return np.zeros(n_bins * n_bins, np.int64), np.zeros(5)
        return _to_host(counts), _to_host(sums)

    def _count(self, cells: list[Any], n_bins: int) -> Any:
        return self.xp.bincount(self.xp.concatenate(cells), minlength=n_bins * n_bins)

    def _bins(self, standardised: Any, axis: GridAxis) -> Any:
        """Bin index of each standardised value; float32 suffices and halves the time."""
        xp = self.xp
        z = standardised.astype(np.float32) if xp is np else standardised.float()
        if axis.high <= axis.low:
            z *= 0.0
        else:
            z *= 1.0 / LINEAR_REACH
            # asinh, spelled with functions that NumPy has in vectorised form.
            u = z * z
            u += 1.0
            xp.sqrt(u, out=u)
            u += xp.abs(z)
            xp.log(u, out=u)
            xp.copysign(u, z, out=z)
            step = (axis.high - axis.low) / axis.n_bins
            z *= LINEAR_REACH / step
            z -= axis.low / step
            xp.clip(z, 0, axis.n_bins - 1, out=z)
        return z.astype(np.int32) if xp is np else z.int()


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


def _scale_sample(weights: Any) -> npt.NDArray[np.float64]:
    """Finite values on a regular sub-lattice of the weights, (n,) float64 on the host."""
    steps = [max(1, size // SCALE_SAMPLE_SIDE) for size in weights.shape]
    lattice = weights[:: steps[0], :: steps[1]]
    sample = lattice if isinstance(lattice, np.ndarray) else lattice.double().cpu().numpy()
    sample = sample.astype(np.float64).ravel()
    return sample[np.isfinite(sample)]


def _fit_axis(sample: npt.NDArray[np.float64], span: tuple[float, float], n_bins: int) -> GridAxis:
    """Centre and scale from the sample's quantiles, range from the exact extremes."""
    low, high = span
    if not high > low:
        return GridAxis(center=low, scale=1.0, low=0.0, high=0.0, n_bins=n_bins)
    center, scale = 0.5 * (low + high), 0.0
    if len(sample):
        q01, q25, q50, q75, q99 = np.quantile(sample, [0.01, 0.25, 0.5, 0.75, 0.99]).tolist()
        center = min(max(q50, low), high)
        # 1.349 and 4.653: a normal distribution's quartile and 1-99 % distances. The second
        # term stops a spike that holds half the weights from setting the scale of the rest.
        scale = max((q75 - q25) / 1.349, (q99 - q01) / 4.653 / 10.0)
    if scale <= 1e-12 * (high - low):
        scale = 0.125 * (high - low)
    if not (0.0 < scale < math.inf and 1.0 / scale < math.inf):
        return GridAxis(center=center, scale=1.0, low=0.0, high=0.0, n_bins=n_bins)
    ends = [LINEAR_REACH * math.asinh((v - center) / scale / LINEAR_REACH) for v in span]
    return GridAxis(center=center, scale=scale, low=ends[0], high=ends[1], n_bins=n_bins)


def _moments(
    sums: npt.NDArray[np.float64],
    n_pairs: int,
    axes: list[GridAxis],
    spans: list[tuple[float, float]],
) -> dict[str, float | None]:
    """Means, standard deviations, extremes and correlation from the shifted sums."""
    names = ("encoder", "decoder")
    if n_pairs == 0:
        keys = [f"{name}_{key}" for name in names for key in ("mean", "std", "min", "max")]
        return dict.fromkeys([*keys, "correlation"])
    sum_x, sum_y, sum_xx, sum_yy, sum_xy = sums.tolist()
    found: dict[str, float | None] = {"correlation": None}
    variances = []
    for name, axis, span, total, squares in zip(
        names, axes, spans, (sum_x, sum_y), (sum_xx, sum_yy), strict=True
    ):
        mean = total / n_pairs
        variances.append(max(0.0, squares / n_pairs - mean * mean))
        found[f"{name}_mean"] = axis.center + axis.scale * mean
        found[f"{name}_std"] = axis.scale * math.sqrt(variances[-1])
        found[f"{name}_min"], found[f"{name}_max"] = span
    if min(variances) > 0.0:
        covariance = sum_xy / n_pairs - sum_x * sum_y / n_pairs**2
        ratio = covariance / math.sqrt(variances[0] * variances[1])
        found["correlation"] = min(1.0, max(-1.0, ratio))
    return found
