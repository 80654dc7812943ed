"""`analyze_experiment`: everything that can be said of saved weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diagnostics.analysis.blob_members import blob_members, label_cells
from diagnostics.analysis.gaussianity import blob_gaussianity
from diagnostics.analysis.graph import encoder_graph, natural_threshold
from diagnostics.analysis.mixture import fit_mixtures
from diagnostics.analysis.run_results import born_epoch, whole_results
from diagnostics.analysis.saved_weights import SavedWeights, load_weights
from diagnostics.analysis.weights_files import SUFFIXES, WeightsFile, find_weights
from diagnostics.blobs import find_blobs
from diagnostics.contract import strictjson
from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.density import DensityGrid, build_density
from diagnostics.contract.errors import BlobwatchError, UnreadableFileError
from diagnostics.contract.naming import find_run
from diagnostics.sampled import compute_lightweight_blob_metrics

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
METRICS_NAME = "decoupling_metrics.json"
Analysis = tuple[dict[str, Any], SavedWeights, DensityGrid]
MAX_CLUSTERED_PAIRS = 1_000_000
"""DBSCAN sees at most so many pairs; above, a uniform sample of that size."""
MOMENTS = ("mean", "std", "min", "max")


def analyze_experiment(
    name_or_path: str | Path,
    save_metrics: bool = True,
    *,
    epochs: str = "last",
    trace: int | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Analyse the weights of a run or of a file.

    Args:
        name_or_path: A run's folder; a file of weights (``model.pth``, a checkpoint, NPZ or
            ``torch.save``, with ``fc1.weight`` and ``fc2.weight``); or the name of an experiment,
            whose most recent run under ``experiments/`` is taken.
        save_metrics: Write ``decoupling_metrics.json``, ``analysis.md`` and its pictures into the
            run's folder, ``trace_00_`` before their names if they are a trace's; beside a file,
            with the file's name before theirs.
        epochs: ``last``, ``all`` or numbers such as ``3,10``: which saved epochs.
        trace: Which trace of stage two; None for stage one.
        threshold: Least |weight| of an edge of the encoder graph; None takes the middle between
            the central blob and the next, see :func:`diagnostics.analysis.graph.natural_threshold`.
        seed: Seed of every sample.

    Returns:
        Plain numbers, None where undefined (docs/analysis.md describes every field):
        ``statistics``, ``clustering``, ``blob_structure``, ``mixture``, ``gaussianity`` (one entry
        per blob) and ``graph`` of the last epoch asked for; ``trend``, one row per epoch asked
        for; ``left_out``, why which files of several could not be read; and where all this comes
        from.

    Raises:
        BlobwatchError: There is no such run, or it has no such weights; the message says why.
    """
    if threshold is not None and not threshold > 0:
        raise BlobwatchError(f"--threshold {threshold}: accepted are positive numbers")
    started = time.perf_counter()
    path = find_run(name_or_path)
    found, trend, left_out = _analyse_all(find_weights(path, epochs, trace), threshold, seed)
    metrics, weights, grid = found
    # Damaged results leave the weights whole: only since when there are blobs is not known.
    results, trouble = whole_results(path)
    if trouble is not None:
        left_out = [*left_out, trouble]
        logger.warning("%s", trouble)
    metrics = {
        "schema_version": SCHEMA_VERSION,
        "source": str(path),
        **metrics,
        "blob_born_epoch": born_epoch(results, trend, metrics["trace"]),
        "trend": trend,
        "left_out": left_out,
    }
    metrics["seconds"] = time.perf_counter() - started
    metrics["report"] = None
    metrics = dict(strictjson.plain(strictjson.builtins(metrics)))
    if save_metrics:
        _save(metrics, weights, grid, *place_of(path, trace))
    return metrics


def _save(
    metrics: dict[str, Any], weights: SavedWeights, grid: DensityGrid, folder: Path, prefix: str
) -> None:
    """Write metrics, report and pictures into ``folder``, their names after ``prefix``."""
    from diagnostics.analysis.report import REPORT_NAME, write_report

    metrics["report"] = str(folder / f"{prefix}{REPORT_NAME}")
    try:
        write_report(metrics, weights, grid, folder, prefix)
        write_atomic(folder / f"{prefix}{METRICS_NAME}", strictjson.encode_indented(metrics))
    except OSError as error:
        raise BlobwatchError(f"{folder}: cannot write: {error.strerror or error}") from None


def analyze_weights(
    weights: SavedWeights,
    grid: DensityGrid,
    *,
    threshold: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Analyse one pair of weight matrices; the sections of `analyze_experiment`.

    Args:
        weights: The weights.
        grid: Their density grid.
        threshold: As for `analyze_experiment`.
        seed: Seed of every sample.
    """
    structure = find_blobs(grid)
    source = "given"
    if threshold is None:
        threshold, source = natural_threshold(grid.encoder_std, structure["blobs"])
    members = blob_members(weights.encoder, weights.decoder, grid, label_cells(grid))
    state = {"fc1.weight": weights.encoder, "fc2.weight": weights.decoder}
    n_clustered = min(grid.n_pairs + grid.n_nonfinite_pairs, MAX_CLUSTERED_PAIRS)
    return {
        "statistics": _statistics(grid),
        "clustering": compute_lightweight_blob_metrics(state, n_clustered, seed=seed),
        "blob_structure": structure,
        "mixture": fit_mixtures(grid, seed=seed),
        "gaussianity": [blob_gaussianity(pairs, seed=seed) for pairs in members if grid.n_pairs],
        "graph": {**encoder_graph(weights.encoder, threshold), "threshold_source": source},
    }


def trend_row(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one epoch that are worth following over epochs."""
    structure, graph = metrics["blob_structure"], metrics["graph"]
    return {
        "epoch": metrics["epoch"],
        "weights_file": metrics["weights_file"],
        "n_blobs": structure["n_blobs"],
        "separation": structure["separation"],
        "blob_silhouette": structure["blob_silhouette"],
        "shares": [blob["share"] for blob in structure["blobs"]],
        "centers": [blob["center"] for blob in structure["blobs"]],
        "stds": [blob["std"] for blob in structure["blobs"]],
        "correlation": structure["correlation"],
        "n_clusters_dbscan": metrics["clustering"]["n_clusters_dbscan"],
        "best_n_components_bic": metrics["mixture"]["best_n_components_bic"],
        "threshold": graph["threshold"],
        "n_edges": graph["n_edges"],
        "n_4_cycles": graph["n_4_cycles"],
    }


def place_of(path: Path, trace: int | None) -> tuple[Path, str]:
    """Return the folder for what an analysis of ``path`` writes, and the start of the names."""
    if path.is_dir():
        return path, "" if trace is None else f"trace_{trace:02d}_"
    twins = [path.with_suffix(suffix) for suffix in SUFFIXES if suffix != path.suffix]
    has_twin = any(twin.is_file() for twin in twins)
    return path.parent, f"{path.name.replace('.', '_') if has_twin else path.stem}_"


def _analyse_all(
    files: Sequence[WeightsFile], threshold: float | None, seed: int
) -> tuple[Analysis, list[dict[str, Any]], list[str]]:
    """Return the last analysis, the trend, and why which files were left out.

    Raises:
        UnreadableFileError: None of them can be read.
    """
    trend: list[dict[str, Any]] = []
    left_out: list[str] = []
    # One epoch's weights at a time: a whole run's need not fit into memory.
    for file in files:
        try:
            found = _analyse(file, threshold, seed)
            trend.append(trend_row(found[0]))
        except UnreadableFileError as error:
            left_out.append(str(error))
    if not trend:
        raise UnreadableFileError("\n".join(left_out))
    for reason in left_out:
        logger.warning("%s; left out", reason)
    return found, trend, left_out


def _analyse(file: WeightsFile, threshold: float | None, seed: int) -> Analysis:
    weights = load_weights(file)
    grid = build_density(weights.encoder, weights.decoder)
    hidden, d = weights.encoder.shape
    metrics = {"weights_file": str(file.path), "trace": weights.trace, "epoch": weights.epoch}
    metrics |= {"hidden": hidden, "d": d}
    metrics |= analyze_weights(weights, grid, threshold=threshold, seed=seed)
    return metrics, weights, grid


def _statistics(grid: DensityGrid) -> dict[str, Any]:
    found = {"n_pairs": grid.n_pairs, "n_nonfinite_pairs": grid.n_nonfinite_pairs}
    found["correlation"] = grid.correlation  # type: ignore[assignment]
    for name in (f"{side}_{moment}" for side in ("encoder", "decoder") for moment in MOMENTS):
        found[name] = getattr(grid, name)
    return found
