from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from diagnostics.analysis import graph as module
from diagnostics.analysis.graph import encoder_graph, natural_threshold, overlap_histogram


def count_4_cycles(edges: np.ndarray) -> int:
    return sum(
        bool(edges[a, i] and edges[a, j] and edges[b, i] and edges[b, j])
        for a, b in combinations(range(edges.shape[0]), 2)
        for i, j in combinations(range(edges.shape[1]), 2)
    )


@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    encoder = rng.normal(size=(rng.integers(1, 9), rng.integers(1, 12))).astype(np.float32)
    found = encoder_graph(encoder, 0.7)
    edges = np.abs(encoder) >= 0.7
    assert found["n_edges"] == edges.sum()
    assert found["n_positive_edges"] == (encoder >= 0.7).sum()
    assert found["n_4_cycles"] == count_4_cycles(edges)
    for name, sets in (("hidden", edges), ("input", edges.T)):
        degrees = [int(row.sum()) for row in sets]
        shared = [int((a & b).sum()) for a, b in combinations(sets, 2)]
        for key, values in ((f"{name}_degrees", degrees), (f"{name}_overlaps", shared)):
            histogram = found[key]["histogram"]
            assert {k: n for k, n in enumerate(histogram) if n} == {
                k: values.count(k) for k in values
            }
            if values:
                assert found[key]["mean"] == pytest.approx(np.mean(values))
                assert found[key]["std"] == pytest.approx(np.std(values))
                assert (found[key]["min"], found[key]["max"]) == (min(values), max(values))
            else:
                assert found[key]["mean"] is None


def test_a_complete_graph_has_every_4_cycle() -> None:
    found = encoder_graph(np.ones((6, 10), np.float32), 0.5)
    assert found["n_4_cycles"] == found["expected_4_cycles"] == 15 * 45
    assert found["edge_share"] == 1.0


def test_a_random_graph_has_about_the_expected_4_cycles() -> None:
    encoder = np.random.default_rng(0).random((300, 500), dtype=np.float32)
    found = encoder_graph(encoder, 0.95)
    assert found["n_4_cycles"] == pytest.approx(found["expected_4_cycles"], rel=0.1)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = np.random.default_rng(1).random((50, 40)) < 0.3
    whole = overlap_histogram(edges)
    monkeypatch.setattr(module, "ROWS_PER_BLOCK", 7)
    np.testing.assert_array_equal(overlap_histogram(edges), whole)
    assert whole.sum() == 50 * 49 // 2


def test_nan_weights_make_no_edge_and_no_graph_is_still_a_graph() -> None:
    found = encoder_graph(np.full((3, 4), np.nan, np.float32), 0.1)
    assert (found["n_edges"], found["n_4_cycles"]) == (0, 0)
    assert found["hidden_degrees"]["histogram"] == [3]


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_that_is_no_positive_number_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        encoder_graph(np.ones((2, 2), np.float32), threshold)


def test_the_natural_threshold_is_equally_many_sigmas_from_both_blobs() -> None:
    blobs = [
        {"center": [0.0, 0.0], "std": [0.1, 1.0]},
        {"center": [-1.5, 0.0], "std": [0.2, 1.0]},
        {"center": [1.4, 0.0], "std": [0.2, 1.0]},
    ]
    threshold, source = natural_threshold(0.3, blobs)
    assert source == "from the blobs"
    assert threshold / 0.1 == pytest.approx((1.4 - threshold) / 0.2)
    assert natural_threshold(0.3, blobs[:1]) == (pytest.approx(0.9), "three standard deviations")
    assert natural_threshold(None, [])[0] > 0
