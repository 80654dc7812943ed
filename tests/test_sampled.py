"""The guide's metrics against scikit-learn and NumPy on the same pairs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN
from sklearn.metrics import silhouette_score as sklearn_silhouette

from diagnostics import compute_lightweight_blob_metrics, full_blob_analysis
from diagnostics.contract.snapshot import sample_pairs
from diagnostics.sampled import dbscan_labels, pair_metrics
from diagnostics.silhouette import silhouette_score
from trainer.model import TwoLayerNet

KEYS = [
    "weight_correlation",
    "encoder_std",
    "decoder_std",
    "encoder_mean",
    "decoder_mean",
    "n_clusters_dbscan",
    "silhouette_score",
    "cluster_centers",
    "n_noise_points",
    "computation_time_ms",
    "n_pairs_analyzed",
]


def clouds() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    three = np.concatenate(
        [
            rng.normal(0, 0.05, (4000, 2)),
            rng.normal([1, 0.5], 0.04, (700, 2)),
            rng.normal([-1, -0.5], 0.04, (300, 2)),
        ]
    )
    return {
        "three blobs": three,
        "one blob": rng.normal(0, 0.2, (5000, 2)),
        "noise": rng.uniform(-30, 30, (2000, 2)),
        "far away": three + 1e4,
        "grid": np.stack(np.meshgrid(np.arange(40), np.arange(40)), axis=-1).reshape(-1, 2) * 0.05,
    }


def same_partition(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist())) and all(
        (a == -1) == (b == -1) for a, b in pairs
    )


@pytest.mark.parametrize("name", clouds())
@pytest.mark.parametrize(("eps", "min_samples"), [(0.1, 50), (0.05, 5), (1.0, 1)])
def test_clusters_equal_those_of_scikit_learn(name: str, eps: float, min_samples: int) -> None:
    points = clouds()[name].astype(np.float32)
    ours = dbscan_labels(points, eps, min_samples)
    model = DBSCAN(eps=eps, min_samples=min_samples).fit(points.astype(np.float64))
    core = np.zeros(len(points), dtype=bool)
    core[model.core_sample_indices_] = True
    # A border point may belong to either of two clusters: DBSCAN leaves it open.
    assert same_partition(ours[core], model.labels_[core])
    assert np.array_equal(ours == -1, model.labels_ == -1)


def test_the_silhouette_equals_that_of_scikit_learn() -> None:
    points = clouds()["three blobs"].astype(np.float32)
    labels = dbscan_labels(points, 0.1, 50)
    inside = labels >= 0
    expected = sklearn_silhouette(points[inside], labels[inside])
    assert silhouette_score(points[inside], labels[inside]) == pytest.approx(expected, abs=1e-6)
    shifted = points[inside] + np.float32(100)
    assert silhouette_score(shifted, labels[inside]) == pytest.approx(expected, abs=1e-4)


def test_clusters_of_one_point_count_as_in_scikit_learn() -> None:
    points = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0]])
    labels = np.array([0, 0, 1])
    assert silhouette_score(points, labels) == pytest.approx(sklearn_silhouette(points, labels))


def test_the_metrics_have_exactly_the_guides_keys_and_describe_the_sample() -> None:
    model = TwoLayerNet(64, 32, generator=torch.Generator().manual_seed(0))
    metrics = compute_lightweight_blob_metrics(model, n_samples=500, seed=3)
    assert list(metrics) == KEYS
    weights = (model.fc1.weight, model.fc2.weight)
    pairs = sample_pairs(*weights, 500, np.random.default_rng(3)).astype(np.float64)
    assert metrics["n_pairs_analyzed"] == 500
    assert metrics["encoder_std"] == pytest.approx(pairs[:, 0].std())
    assert metrics["decoder_mean"] == pytest.approx(pairs[:, 1].mean())
    assert metrics["weight_correlation"] == pytest.approx(np.corrcoef(pairs.T)[0, 1])
    assert metrics["silhouette_score"] is None


def test_pairs_are_encoder_ij_with_decoder_ji_drawn_without_replacement() -> None:
    encoder = torch.arange(12.0).reshape(3, 4)
    decoder = torch.arange(12.0).reshape(3, 4).T + 100
    pairs = sample_pairs(encoder, decoder, 7, np.random.default_rng(0))
    assert np.array_equal(pairs[:, 1] - pairs[:, 0], np.full(7, 100.0))
    assert len(set(pairs[:, 0].tolist())) == 7
    everything = sample_pairs(encoder.numpy(), decoder.numpy(), 99, np.random.default_rng(0))
    assert sorted(everything[:, 0].tolist()) == list(range(12))


def test_full_statistics_use_all_pairs() -> None:
    model = TwoLayerNet(64, 32)
    encoder = model.fc1.weight.detach().double()
    metrics = full_blob_analysis(model)
    assert list(metrics) == KEYS
    assert metrics["n_pairs_analyzed"] == 64 * 32
    assert metrics["encoder_std"] == pytest.approx(encoder.std(correction=0).item(), rel=1e-9)
    some = compute_lightweight_blob_metrics(model, compute_full_stats=True)
    assert some | {"computation_time_ms": 0} == metrics | {"computation_time_ms": 0}


def test_the_random_numbers_of_training_are_not_touched() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    compute_lightweight_blob_metrics(TwoLayerNet(8, 4, generator=torch.Generator()), n_samples=9)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])


@pytest.mark.parametrize(
    ("pairs", "clusters", "noise"),
    [
        (np.zeros((5000, 2)), 1, 0),
        (np.full((5000, 2), np.nan), 0, 0),
        (np.ones((1, 2)), 0, 1),
        (np.zeros((0, 2)), 0, 0),
        (np.array([[np.inf, 1.0]] * 10 + [[0.5, 0.5]] * 60), 1, 0),
        (np.full((100, 2), 1e38), 1, 0),
        (np.random.default_rng(0).normal(0, 1e-30, (100, 2)), 1, 0),
        (np.random.default_rng(0).normal(0, 1e30, (500, 2)), 0, 500),
    ],
)
def test_degenerate_weights_are_defined(
    pairs: np.ndarray[Any, Any], clusters: int, noise: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = pair_metrics(pairs.astype(np.float32), eps=0.1, min_samples=50)
    assert metrics["n_clusters_dbscan"] == clusters
    assert metrics["n_noise_points"] == noise
    assert metrics["n_pairs_analyzed"] == np.isfinite(pairs).all(axis=1).sum()
    assert all(v is None or not isinstance(v, float) or np.isfinite(v) for v in metrics.values())


def test_weights_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 8\) and \(4, 8\)"):
        compute_lightweight_blob_metrics(
            {"fc1.weight": np.zeros((4, 8)), "fc2.weight": np.zeros((4, 8))}
        )
    with pytest.raises(TypeError, match=r"need a model with fc1\.weight"):
        compute_lightweight_blob_metrics(3)
