"""The all-pairs density grid: every weight pair counted, with exact moments, in bounded memory.

Shapes used below: H hidden units, D inputs. The encoder (``fc1.weight``) is (H, D), the decoder
(``fc2.weight``) is (D, H); the pair (i, j) is (encoder[i, j], decoder[j, i]), H * D in all.
``axis`` says what a bin is, ``counting`` does the work.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from diagnostics.contract.axis import GridAxis, fit_axis
from diagnostics.contract.counting import Shift, Span, WeightPairs, scale_sample

__all__ = ["DEFAULT_N_BINS", "DensityGrid", "GridAxis", "build_density"]

DEFAULT_N_BINS = 192
MAX_N_BINS = 4096
COMPACT_VERSION = 1


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
    pairs = WeightPairs.of(encoder, decoder)
    with np.errstate(all="ignore"):  # sums of huge weights may overflow; every result is checked
        n_pairs, spans = pairs.find_spans()
        both = pairs.encoder, pairs.decoder
        axes = [fit_axis(scale_sample(w), s, n_bins) for w, s in zip(both, spans, strict=True)]
        shifts = [Shift.of(*one) for one in zip(both, axes, spans, strict=True)]
        counts, sums = pairs.accumulate(axes, shifts, n_pairs)
    return DensityGrid(
        counts=counts,
        encoder_axis=axes[0],
        decoder_axis=axes[1],
        n_pairs=n_pairs,
        n_nonfinite_pairs=len(pairs) - n_pairs,
        **_moments(sums, n_pairs, shifts, spans),
    )


def _moments(
    sums: npt.NDArray[np.float64], n_pairs: int, shifts: list[Shift], spans: list[Span]
) -> dict[str, float | None]:
    """Means, standard deviations, extremes and correlation from the shifted sums."""
    names = ("encoder", "decoder")
    if n_pairs == 0:
        keys = [f"{name}_{key}" for name in names for key in ("mean", "std", "min", "max")]
        return dict.fromkeys([*keys, "correlation"])
    sum_x, sum_y, sum_xx, sum_yy, sum_xy = sums.tolist()
    found: dict[str, float | None] = {"correlation": None}
    variances = []
    for name, shift, span, total, squares in zip(
        names, shifts, spans, (sum_x, sum_y), (sum_xx, sum_yy), strict=True
    ):
        mean = total / n_pairs
        variances.append(max(0.0, squares / n_pairs - mean * mean))
        found[f"{name}_mean"] = shift.center + shift.unit * mean
        found[f"{name}_std"] = shift.unit * math.sqrt(variances[-1])
        found[f"{name}_min"], found[f"{name}_max"] = span
    if min(variances) > 0.0:
        covariance = sum_xy / n_pairs - sum_x * sum_y / n_pairs**2
        ratio = covariance / math.sqrt(variances[0] * variances[1])
        found["correlation"] = min(1.0, max(-1.0, ratio))
    return found
