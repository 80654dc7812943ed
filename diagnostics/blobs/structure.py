"""The structure of the weight-pair cloud: how many blobs, where, and how clearly apart.

Blobs are the modes of the smoothed all-pairs density that a valley separates (``smoothing`` and
``modes`` say how); this module describes them in plain numbers.

B below is the number of blobs, N the grid's bins per axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diagnostics.blobs.modes import ModeTree, ValleyRule, build_mode_tree
from diagnostics.blobs.shoulders import fade_in, find_shoulder
from diagnostics.blobs.smoothing import Kernels
from diagnostics.contract.density import DEFAULT_N_BINS, DensityGrid, build_density

Floats = npt.NDArray[np.float64]

# Pairs that one density estimate rests on: a fraction of all, so that a blob of the least share
# counted has several independent estimates across it, within limits that keep the error of an
# estimate under 1 / sqrt(30) and the cost of resolution reasonable.
SUPPORT_SHARE = 0.00025
MIN_SUPPORT, MAX_SUPPORT = 30.0, 400.0
DEFAULT_RULE = ValleyRule(confidence=2.25, min_depth=0.4, min_share=0.0005)


@dataclass(frozen=True, slots=True)
class _BlobMoments:
    """Per blob: share (B,), center (B, 2), covariance (B, 2, 2), in weight units."""

    share: Floats
    center: Floats
    covariance: Floats


def blob_structure(encoder: Any, decoder: Any = None, **options: Any) -> dict[str, Any]:
    """Describe the cloud of all weight pairs (encoder[i, j], decoder[j, i]).

    Args:
        encoder: (hidden, d) array or tensor; or a model with ``fc1.weight`` and ``fc2.weight``.
        decoder: (d, hidden), likewise; left out for a model.
        **options: ``n_bins`` (see :func:`build_density`) and those of :func:`find_blobs`.

    Returns:
        See :func:`find_blobs`.

    Raises:
        ValueError: if the shapes don't fit.
        TypeError: if ``decoder`` is missing and ``encoder`` is no such model.
    """
    if decoder is None:
        try:
            encoder, decoder = encoder.fc1.weight, encoder.fc2.weight
        except AttributeError:
            raise TypeError(
                f"blob_structure: got {type(encoder).__name__} alone; expected an encoder and a "
                "decoder, or a model with fc1.weight and fc2.weight"
            ) from None
    n_bins = options.pop("n_bins", DEFAULT_N_BINS)
    return find_blobs(build_density(encoder, decoder, n_bins=n_bins), **options)


def find_blobs(
    grid: DensityGrid,
    *,
    min_depth: float = DEFAULT_RULE.min_depth,
    min_share: float = DEFAULT_RULE.min_share,
    confidence: float = DEFAULT_RULE.confidence,
) -> dict[str, Any]:
    """Find and describe the blobs of a density grid.

    Args:
        grid: all weight pairs, see :func:`diagnostics.contract.density.build_density`.
        min_depth: the least depth of a valley that separates a blob (0 none, 1 empty).
        min_share: the least share of the pairs that makes a blob.
        confidence: standard errors by which summit and valley are moved towards each other
            before the depth is taken.

    Returns:
        Plain numbers, None where undefined, never NaN:
        ``n_blobs`` (0 without finite pairs); ``separation``: the least of the blobs' depths, or,
        with one blob, the depth of the deepest valley that does not (yet) count; in [0, 1], None
        without pairs. ``blob_silhouette``: mean over all pairs of the silhouette (None for one
        blob). ``correlation``, ``encoder_mean``, ``encoder_std``, ``decoder_mean``,
        ``decoder_std``: exact, over all finite pairs. ``n_pairs``, ``n_nonfinite_pairs``.
        ``blobs``: largest first, each ``center`` [encoder, decoder], ``share``, ``std`` [encoder,
        decoder], ``correlation``, ``depth`` (1 - pass / own summit, at the pessimistic end of the
        counting error; 0 for a single blob) and ``silhouette``.
    """
    result: dict[str, Any] = {
        "n_blobs": 0,
        "separation": None,
        "blob_silhouette": None,
        "correlation": grid.correlation,
        "encoder_mean": grid.encoder_mean,
        "encoder_std": grid.encoder_std,
        "decoder_mean": grid.decoder_mean,
        "decoder_std": grid.decoder_std,
        "n_pairs": grid.n_pairs,
        "n_nonfinite_pairs": grid.n_nonfinite_pairs,
        "blobs": [],
    }
    if grid.n_pairs == 0:
        return result
    rule = ValleyRule(confidence=confidence, min_depth=min_depth, min_share=min_share)
    kernels = Kernels.of(grid)
    tree = find_modes(grid, kernels, rule)
    result["n_blobs"] = len(tree.depths)
    if len(tree.depths) == 1:
        result["separation"] = _approach(grid, kernels, tree, rule)
        result["blobs"] = [_describe_whole(grid)]
        return result
    result["separation"] = min(tree.depths)
    cells = np.flatnonzero(grid.counts)
    points = _cell_points(grid, cells)
    weights = grid.counts.ravel()[cells].astype(np.float64)
    labels = tree.labels.ravel()[cells]
    moments = _blob_moments(points, weights, labels, len(tree.depths))
    silhouettes = _silhouettes(grid, points, weights, labels, moments)
    result["blob_silhouette"] = float(silhouettes @ moments.share)
    result["blobs"] = [
        _describe(moments, k, tree.depths[k], float(silhouettes[k]))
        for k in np.argsort(-moments.share, kind="stable").tolist()
    ]
    return result


def find_modes(grid: DensityGrid, kernels: Kernels, rule: ValleyRule) -> ModeTree:
    """Find the modes of a grid with at least one pair, and the cells of each."""
    density = kernels.density(_support(grid))
    return build_mode_tree(density, grid.counts.astype(np.float64), rule)


def _support(grid: DensityGrid) -> float:
    return min(max(SUPPORT_SHARE * grid.n_pairs, MIN_SUPPORT), MAX_SUPPORT)


def _approach(grid: DensityGrid, kernels: Kernels, tree: ModeTree, rule: ValleyRule) -> float:
    """How far the one blob is from parting: its deepest valley or shoulder that does not count."""
    valleys = (depth * fade_in(share, rule.min_share) for depth, share in tree.rejected)
    # A shoulder leads up to the depth at which a valley counts.
    strength = find_shoulder(grid, kernels, _support(grid), rule.min_share)
    return max([rule.min_depth * strength, *valleys])


def _cell_points(grid: DensityGrid, cells: npt.NDArray[np.intp]) -> Floats:
    """The middle of each given cell in weight values, (n, 2)."""
    rows, cols = np.divmod(cells, grid.counts.shape[1])
    return np.column_stack([grid.encoder_axis.centers()[rows], grid.decoder_axis.centers()[cols]])


def _blob_moments(
    points: Floats, weights: Floats, labels: npt.NDArray[np.int64], n_blobs: int
) -> _BlobMoments:
    mass = np.bincount(labels, weights, n_blobs)

    def mean_of(values: Floats) -> Floats:
        return np.bincount(labels, weights * values, n_blobs) / mass

    # Shifted first: a common offset far larger than the spread must not eat the digits.
    origin = points.mean(axis=0)
    center = np.column_stack([mean_of(points[:, k] - origin[k]) for k in (0, 1)])
    away = points - origin - center[labels]
    covariance = np.empty((n_blobs, 2, 2))
    for a in (0, 1):
        for b in (0, 1):
            covariance[:, a, b] = mean_of(away[:, a] * away[:, b])
    return _BlobMoments(mass / mass.sum(), center + origin, covariance)


def _silhouettes(
    grid: DensityGrid,
    points: Floats,
    weights: Floats,
    labels: npt.NDArray[np.int64],
    moments: _BlobMoments,
) -> Floats:
    """Mean silhouette of each blob, (B,), over all its pairs, each axis in standard deviations.

    Rousseeuw's silhouette (1987) with the root mean square distance to a blob in place of the
    mean distance: that has a closed form (distance to the centre, plus the blob's own spread), so
    all pairs can enter.
    """
    unit = np.array([grid.encoder_std or 1.0, grid.decoder_std or 1.0])
    own = nearest = np.full(len(points), np.inf)
    for k, (center, covariance) in enumerate(zip(moments.center, moments.covariance, strict=True)):
        spread = float((covariance.diagonal() / unit**2).sum())
        x, y = ((points[:, a] - center[a]) / unit[a] for a in (0, 1))
        distance = np.sqrt(x * x + y * y + spread)
        is_own = labels == k
        own = np.where(is_own, distance, own)
        nearest = np.where(is_own, nearest, np.minimum(nearest, distance))
    values = (nearest - own) / np.maximum(np.maximum(nearest, own), 1e-300)
    n_blobs = len(moments.share)
    return np.bincount(labels, weights * values, n_blobs) / np.bincount(labels, weights, n_blobs)


def _describe(moments: _BlobMoments, k: int, depth: float, silhouette: float) -> dict[str, Any]:
    variances = moments.covariance[k].diagonal()
    product = float(variances[0] * variances[1])
    correlation = float(moments.covariance[k, 0, 1]) / math.sqrt(product) if product > 0 else None
    return {
        "center": moments.center[k].tolist(),
        "share": float(moments.share[k]),
        "std": np.sqrt(variances).tolist(),
        "correlation": correlation,
        "depth": depth,
        "silhouette": silhouette,
    }


def _describe_whole(grid: DensityGrid) -> dict[str, Any]:
    return {
        "center": [grid.encoder_mean, grid.decoder_mean],
        "share": 1.0,
        "std": [grid.encoder_std, grid.decoder_std],
        "correlation": grid.correlation,
        "depth": 0.0,
        "silhouette": None,
    }
