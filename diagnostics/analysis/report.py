"""``analysis.md``: the analysis for people, with its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diagnostics.analysis.run_results import blob_history, whole_results
from diagnostics.analysis.saved_weights import SavedWeights
from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.density import DensityGrid

Row = Sequence[Any]
REPORT_NAME = "analysis.md"


def write_report(
    metrics: Mapping[str, Any], weights: SavedWeights, grid: DensityGrid, folder: Path, prefix: str
) -> None:
    """Write the report and its pictures.

    Args:
        metrics: What `analyze_experiment` returns.
        weights: The weights of the last epoch.
        grid: Their density grid.
        folder: Where to.
        prefix: Start of every file's name.

    Raises:
        OSError: The folder cannot be written.
    """
    pictures = _draw(metrics, weights, grid, folder, prefix)
    text = report_text(metrics, pictures)
    write_atomic(folder / f"{prefix}{REPORT_NAME}", text.encode())


def report_text(metrics: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """Return the report in Markdown.

    Args:
        metrics: What `analyze_experiment` returns.
        pictures: Caption to file name, in order.
    """
    epoch = "".join(
        f", {key} {metrics[key]}" for key in ("trace", "epoch") if metrics[key] is not None
    )
    parts = [
        f"# Weight pairs of {Path(metrics['weights_file']).name}{epoch}",
        f"`{metrics['weights_file']}`: hidden {metrics['hidden']:,}, d {metrics['d']:,},"
        f" {metrics['statistics']['n_pairs']:,} weight pairs. docs/analysis.md explains every"
        " figure.",
        *(f"![{caption}]({name})" for caption, name in pictures.items()),
        *_structure(metrics),
        *_gaussianity(metrics),
        *_mixture(metrics["mixture"]),
        *_clustering(metrics),
        *_graph(metrics["graph"]),
        *_trend(metrics["trend"], metrics["left_out"]),
    ]
    return "\n\n".join(parts) + "\n"


def table(titles: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table; None becomes a dash."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(number, line)) + " |" for line in lines)


def number(value: Any) -> str:
    """Return a value as text: four significant digits, thousands set apart, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def point(values: Sequence[float | None]) -> str:
    """Return a place or spread in weight space as text."""
    return "(" + ", ".join(map(number, values)) + ")"


def interval(found: Mapping[str, Any], key: str) -> str:
    """Return an estimate with its 95 % interval as text."""
    return f"{number(found[key])} [{number(found['low'])}, {number(found['high'])}]"


def _draw(
    metrics: Mapping[str, Any], weights: SavedWeights, grid: DensityGrid, folder: Path, prefix: str
) -> dict[str, str]:
    """Draw what there is to draw; caption to file name."""
    from diagnostics.draw.degrees import draw_degrees
    from diagnostics.draw.histograms import draw_encoder_weights
    from diagnostics.draw.pairs import draw_pairs
    from diagnostics.draw.paper import write_picture
    from diagnostics.draw.timeline import draw_timeline, history_of_trend
    from diagnostics.draw.traces import draw_traces

    structure, graph, epoch = metrics["blob_structure"], metrics["graph"], metrics["epoch"]
    name = Path(metrics["source"]).resolve().name
    if metrics["trace"] is not None:
        name += f", trace {metrics['trace']}"
    figures = {
        "All weight pairs": (
            "pairs",
            draw_pairs(grid, structure, epoch=epoch, born=metrics["blob_born_epoch"], name=name),
        ),
        "Encoder weights": (
            "encoder_weights",
            draw_encoder_weights(grid, structure, epoch=epoch, threshold=graph["threshold"]),
        ),
        "Encoder graph": ("encoder_graph", draw_degrees(graph)),
    }
    source = Path(metrics["source"])
    results, _ = whole_results(source)
    if len(metrics["trend"]) > 1:
        history = history_of_trend(metrics["trend"])
        figures["Formation"] = ("timeline", draw_timeline(history, name=name))
    elif history := blob_history(results, metrics["trace"]):
        figures["Formation"] = ("timeline", draw_timeline(history, name=name))
    if (results.get("stage2") or {}).get("traces"):
        figures["Stage two"] = ("stage2", draw_traces(results, name=name))
    pictures = {}
    for caption, (stem, figure) in figures.items():
        pictures[caption] = f"{prefix}analysis_{stem}.png"
        write_picture(figure, folder / pictures[caption])
    return pictures


def _structure(metrics: Mapping[str, Any]) -> list[str]:
    structure, statistics = metrics["blob_structure"], metrics["statistics"]
    rows = [
        [k, point(b["center"]), f"{100 * b['share']:.3g} %", point(b["std"]), b["correlation"],
         b["depth"], b["silhouette"]]
        for k, b in enumerate(structure["blobs"], 1)
    ]  # fmt: skip
    sides = [
        [side, *(statistics[f"{side}_{moment}"] for moment in ("mean", "std", "min", "max"))]
        for side in ("encoder", "decoder")
    ]
    born = metrics["blob_born_epoch"]
    since = "" if born is None or structure["n_blobs"] < 2 else f" since epoch {born}"
    return [
        "## Blobs",
        f"**{counted(structure['n_blobs'], 'blob')}**{since},"
        f" separation {number(structure['separation'])},"
        f" silhouette {number(structure['blob_silhouette'])}.",
        table(["blob", "center", "share", "std", "correlation", "depth", "silhouette"], rows),
        "## Statistics of all pairs",
        f"Correlation {number(statistics['correlation'])};"
        f" {statistics['n_nonfinite_pairs']:,} pairs are not finite.",
        table(["", "mean", "std", "min", "max"], sides),
    ]


def _gaussianity(metrics: Mapping[str, Any]) -> list[str]:
    rows: list[Row] = []
    for k, blob in enumerate(metrics["gaussianity"], 1):
        if blob["reason"]:
            rows.append([k, blob["n_used"], blob["reason"], *[None] * 6])
            continue
        projections, angles = blob["anderson_darling"], blob["angles"]
        rejected = f"{100 * projections['rejected_share']:.0f} %"
        rows.append(
            [k, blob["n_used"], interval(blob["radial_ks"], "distance"),
             *(interval(tail, "ratio") for tail in blob["tails"]), interval(angles, "kuiper"),
             f"{number(projections['median'])} ({rejected} rejected)",
             interval(blob["mardia"], "kurtosis")]
        )  # fmt: skip
    titles = ["blob", "pairs used", "radial KS", "beyond 2 sigma", "3 sigma", "4 sigma",
              "angles (Kuiper)", "Anderson-Darling", "Mardia kurtosis"]  # fmt: skip
    return [
        "## Gaussianity",
        "Gaussian: KS and Kuiper 0, tail ratios 1, about 5 % rejected, kurtosis 8. In brackets the"
        " 95 % interval for the number of pairs used.",
        table(titles, rows),
    ]


def _mixture(mixture: Mapping[str, Any]) -> list[str]:
    rows = [
        [fit["n_components"], fit["log_likelihood"], f"{fit['bic']:,.0f}", f"{fit['aic']:,.0f}",
         "; ".join(f"{100 * c['share']:.3g} % at {point(c['mean'])}" for c in fit["components"])]
        for fit in mixture["fits"]
    ]  # fmt: skip
    return [
        "## Gaussian mixture",
        mixture["reason"]
        or f"Fitted to all {mixture['n_pairs']:,} pairs through the density grid. Least BIC with"
        f" {mixture['best_n_components_bic']} components, least AIC with"
        f" {mixture['best_n_components_aic']}; with so many pairs, both ask for more components"
        " than there are blobs as soon as a blob is not exactly Gaussian.",
        table(["components", "log-likelihood per pair", "BIC", "AIC", "components' places"], rows),
    ]


def _clustering(metrics: Mapping[str, Any]) -> list[str]:
    found = metrics["clustering"]
    return [
        "## DBSCAN",
        f"eps 0.1, 50 points, on {found['n_pairs_analyzed']:,} pairs:"
        f" {counted(found['n_clusters_dbscan'], 'cluster')},"
        f" {counted(found['n_noise_points'], 'noise point')},"
        f" silhouette {number(found['silhouette_score'])}.",
    ]


def _graph(graph: Mapping[str, Any]) -> list[str]:
    rows = [
        [name.replace("_", " "), *(graph[name][key] for key in ("mean", "std", "min", "max"))]
        for name in ("hidden_degrees", "input_degrees", "hidden_overlaps", "input_overlaps")
    ]
    return [
        "## Encoder graph",
        f"An edge where |weight| >= {number(graph['threshold'])} ({graph['threshold_source']}):"
        f" {counted(graph['n_edges'], 'edge')} ({100 * graph['edge_share']:.3g} %),"
        f" {graph['n_positive_edges']:,} of them positive."
        f" {counted(graph['n_4_cycles'], '4-cycle')};"
        f" a random graph of this density has {graph['expected_4_cycles']:,.0f}.",
        table(["", "mean", "std", "min", "max"], rows),
    ]


def _trend(trend: Sequence[Mapping[str, Any]], left_out: Sequence[str]) -> list[str]:
    if len(trend) + len(left_out) < 2:
        return []
    keys = [
        "epoch",
        "n_blobs",
        "separation",
        "blob_silhouette",
        "correlation",
        "n_clusters_dbscan",
        "best_n_components_bic",
        "threshold",
        "n_edges",
        "n_4_cycles",
    ]
    missing = [f"Left out: {reason}" for reason in left_out]
    return ["## Trend", table(keys, ([row[key] for key in keys] for row in trend)), *missing]
