"""Histograms of weights, outputs and the graph's degrees, and the timeline of the blobs."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.patches import StepPatch

from diagnostics.analysis.outputs import NetworkOutputs
from diagnostics.draw.degrees import draw_degrees
from diagnostics.draw.histograms import draw_encoder_weights, draw_outputs
from diagnostics.draw.paper import encode_picture
from diagnostics.draw.timeline import draw_timeline, timeline_of
from tests.drawn_clouds import GRID, STRUCTURE, axes_of, texts


def test_the_encoder_histogram_marks_centres_and_threshold() -> None:
    figure = draw_encoder_weights(GRID, STRUCTURE, epoch=3, threshold=0.5)
    axes = axes_of(figure, "encoder weights")
    marked = {round(float(line.get_xdata()[0]), 9) for line in axes.lines}  # type: ignore[index]
    centers = {round(blob["center"][0], 9) for blob in STRUCTURE["blobs"]}
    assert marked == centers | {-0.5, 0.5}


def test_the_outputs_histogram_shows_both_sides_as_densities() -> None:
    rng = np.random.default_rng(0)
    active = rng.normal(0.9, 0.1, 2000).astype(np.float32)
    inactive = rng.normal(0.0, 0.05, 50_000).astype(np.float32)
    figure = draw_outputs(NetworkOutputs(active, np.append(inactive, np.nan)))
    patches = [p for p in axes_of(figure, "network outputs").patches if isinstance(p, StepPatch)]
    assert len(patches) == 2
    for patch, mean in zip(patches, (0.9, 0.0), strict=True):
        values, edges, _ = patch.get_data()
        assert (values * np.diff(edges)).sum() == pytest.approx(1.0)
        middle = float((values * np.diff(edges)) @ (0.5 * (edges[1:] + edges[:-1])))
        assert middle == pytest.approx(mean, abs=0.02)
        assert f"{float(active.mean() if mean else 0.0):.3f}"[:-1] in patch.get_label()
    empty = np.empty(0, np.float32)
    assert encode_picture(draw_outputs(NetworkOutputs(empty, empty)))


def test_bars_of_the_graph_are_its_histograms() -> None:
    summary = {"mean": 2.0, "std": 1.0, "min": 1, "max": 3, "histogram": [0, 5, 0, 7]}
    none: dict[str, Any] = dict.fromkeys(("mean", "std", "min", "max")) | {"histogram": []}
    graph = dict.fromkeys(("hidden_degrees", "input_degrees", "hidden_overlaps"), summary)
    graph |= {"input_overlaps": none}
    counts = {"n_edges": 26, "threshold": 0.5, "n_4_cycles": 3, "expected_4_cycles": 2.0}
    figure = draw_degrees({**graph, **counts})
    bars = axes_of(figure, "hidden_degrees").patches
    assert [(b.get_x() + b.get_width() / 2, b.get_height()) for b in bars] == [  # type: ignore[attr-defined]
        (pytest.approx(1), 5), (pytest.approx(2), 0), (pytest.approx(3), 7),
    ]  # fmt: skip


def history() -> list[dict[str, Any]]:
    one = {"n_blobs": 1, "blob_separation": 0.1, "blob_shares": [1.0], "blob_born_epoch": 1,
           "blob_centers": [[0.0, 0.0]], "blob_stds": [[0.2, 0.02]]}  # fmt: skip
    three = {"n_blobs": 3, "blob_separation": 0.9, "blob_shares": [0.98, 0.011, 0.009],
             "blob_born_epoch": 4, "blob_centers": [[0.0, 0.0], [1.4, 0.1], [-1.4, -0.1]],
             "blob_stds": [[0.1, 0.01]] * 3}  # fmt: skip
    found = [{"epoch": e, "diagnostics": one if e < 4 else three} for e in range(1, 7)]
    return [
        *found,
        {"epoch": 7, "diagnostics": None},
        {"epoch": 8},
        {"epoch": 9, "diagnostics": {}},
    ]


def test_the_timeline_draws_what_the_results_say() -> None:
    figure = draw_timeline(history(), name="mine")
    steps = axes_of(figure, "count").lines[0]
    assert list(steps.get_xdata()) == [1, 2, 3, 4, 5, 6]  # type: ignore[arg-type]
    assert list(steps.get_ydata()) == [1, 1, 1, 3, 3, 3]  # type: ignore[arg-type]
    separation = axes_of(figure, "separation").lines[0]
    assert list(separation.get_ydata()) == [0.1] * 3 + [0.9] * 3  # type: ignore[arg-type]
    shares = axes_of(figure, "shares").collections[0].get_offsets()
    assert sorted({round(float(y), 6) for _, y in shares}) == [0.9, 1.1, 98.0, 100.0]
    assert axes_of(figure, "shares").get_yscale() == "log"
    centers = axes_of(figure, "encoder centers").collections[1].get_offsets()
    assert {(int(x), float(y)) for x, y in centers if x > 3} == {
        (epoch, y) for epoch in (4, 5, 6) for y in (0.0, 1.4, -1.4)
    }
    assert "3 blobs since epoch 4" in texts(figure)
    births = [line.get_xdata()[0] for line in axes_of(figure, "count").lines[2:]]  # type: ignore[index]
    assert births == [4]


def test_one_colour_follows_one_blob_through_the_timeline() -> None:
    figure = draw_timeline(history())
    marks = axes_of(figure, "encoder centers").collections[1]
    colours: dict[float, set[tuple[float, ...]]] = {}
    for (_, y), colour in zip(marks.get_offsets(), marks.get_facecolors(), strict=True):
        colours.setdefault(float(y), set()).add(tuple(colour))
    assert all(len(found) == 1 for found in colours.values())
    assert len({next(iter(found)) for found in colours.values()}) == 3


@pytest.mark.parametrize("entries", [[], [{"epoch": 1}], history()[:1]])
def test_a_timeline_of_little_is_still_a_picture(entries: list[dict[str, Any]]) -> None:
    assert encode_picture(draw_timeline(entries))
    assert len(timeline_of(entries).epochs) == sum("diagnostics" in e for e in entries)


def test_missing_values_of_an_epoch_are_left_out_of_the_timeline() -> None:
    entries = msgspec.json.decode(
        b'[{"epoch": 1, "diagnostics": {"n_blobs": 0, "blob_separation": null,'
        b' "blob_shares": [1.0], "blob_centers": [[null, null]]}}]'
    )
    assert encode_picture(draw_timeline(entries))
    assert timeline_of(entries).blobs == []
