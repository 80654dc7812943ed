from __future__ import annotations

import numpy as np
import pytest

from diagnostics.analysis.mixture import fit_mixtures
from diagnostics.contract.density import DensityGrid, build_density

RNG = np.random.default_rng(1)
TRUTH = [  # share, mean, std, correlation: decoder weights a thousand times smaller
    (0.95, (0.0, 0.0), (0.1, 0.0001), 0.5),
    (0.03, (1.5, 0.001), (0.2, 0.0002), -0.6),
    (0.02, (-1.5, -0.001), (0.15, 0.0001), 0.0),
]


def grid_of(pairs: np.ndarray) -> DensityGrid:
    encoder, decoder = (pairs[:, k].reshape(-1, 100) for k in (0, 1))
    return build_density(encoder, decoder.T)


def normal(n: int, mean: object, std: object, r: float) -> np.ndarray:
    x, y = RNG.standard_normal((2, n))
    return np.column_stack([x, r * x + np.sqrt(1 - r * r) * y]) * std + mean


@pytest.fixture(scope="module")
def three() -> DensityGrid:
    n = 200_000
    parts = [normal(round(share * n), mean, std, r) for share, mean, std, r in TRUTH]
    return grid_of(RNG.permutation(np.vstack(parts)))


def test_a_known_mixture_is_recovered_from_the_grid(three: DensityGrid) -> None:
    found = fit_mixtures(three)
    assert found["best_n_components_bic"] == 3
    assert [fit["n_components"] for fit in found["fits"]] == [1, 2, 3, 4, 5, 6]
    for component, (share, mean, std, r) in zip(found["fits"][2]["components"], TRUTH, strict=True):
        assert component["share"] == pytest.approx(share, rel=0.02)
        error = np.subtract(component["mean"], mean) / std
        assert np.abs(error).max() < 0.05
        assert component["std"] == pytest.approx(std, rel=0.05)
        assert component["correlation"] == pytest.approx(r, abs=0.05)


def test_criteria_are_those_of_the_literature(three: DensityGrid) -> None:
    for k, fit in enumerate(fit_mixtures(three, max_components=3)["fits"], 1):
        n_parameters = 6 * k - 1  # k - 1 shares, 2 k means, 3 k covariances
        total = fit["log_likelihood"] * three.n_pairs
        assert fit["aic"] == pytest.approx(2 * n_parameters - 2 * total)
        assert fit["bic"] == pytest.approx(n_parameters * np.log(three.n_pairs) - 2 * total)


def test_one_component_has_the_exact_moments_and_likelihood_of_a_gaussian() -> None:
    pairs = normal(100_000, (3.0, -2.0), (0.5, 4.0), 0.8)
    grid = grid_of(pairs)
    found = fit_mixtures(grid)
    fit = found["fits"][0]
    assert found["best_n_components_bic"] == 1
    (component,) = fit["components"]
    assert component["mean"] == pytest.approx(pairs.mean(axis=0).tolist(), rel=1e-3)
    assert component["std"] == pytest.approx(pairs.std(axis=0).tolist(), rel=2e-3)
    r = float(np.corrcoef(pairs.T)[0, 1])
    assert component["correlation"] == pytest.approx(r, abs=2e-3)
    # Entropy of a standardised Gaussian with correlation r.
    expected = -np.log(2 * np.pi * np.e) - 0.5 * np.log(1 - r * r)
    assert fit["log_likelihood"] == pytest.approx(expected, abs=2e-3)


def test_more_components_never_explain_the_pairs_worse(three: DensityGrid) -> None:
    likelihoods = [fit["log_likelihood"] for fit in fit_mixtures(three)["fits"]]
    assert np.diff(likelihoods).min() > -1e-4


def test_the_same_seed_gives_the_same_fit(three: DensityGrid) -> None:
    assert fit_mixtures(three, max_components=4) == fit_mixtures(three, max_components=4)


@pytest.mark.parametrize("value", [np.nan, 1.0])
def test_weights_that_no_mixture_fits_have_a_reason(value: float) -> None:
    grid = build_density(np.full((4, 8), value), np.ones((8, 4)))
    found = fit_mixtures(grid)
    assert found["fits"] == []
    assert found["best_n_components_bic"] is None
    assert found["reason"]
