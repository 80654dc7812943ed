from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from diagnostics.analysis.gaussianity import (
    anderson_darling,
    blob_gaussianity,
    mardia_moments,
    radial_distance,
    whiten,
    wilson_interval,
)

RNG = np.random.default_rng(2)
N = 60_000


def white(pairs: np.ndarray) -> np.ndarray:
    found = whiten(pairs)
    assert found is not None
    return found


def gaussian(n: int = N) -> np.ndarray:
    mixing = np.array([[0.3, 0.0], [0.9e-3, 0.1e-3]])  # correlated, axes 300 to 1
    return RNG.standard_normal((n, 2)) @ mixing.T + (5.0, -0.01)


@pytest.fixture(scope="module")
def of_gaussian() -> dict[str, Any]:
    return blob_gaussianity(gaussian())


def test_a_gaussian_blob_passes_every_test(of_gaussian: dict[str, Any]) -> None:
    assert of_gaussian["radial_ks"]["low"] == 0.0
    assert of_gaussian["radial_ks"]["distance"] < 0.01
    for tail in of_gaussian["tails"][:2]:
        assert tail["low"] < 1.0 < tail["high"]
    assert of_gaussian["angles"]["low"] == 0.0
    assert of_gaussian["anderson_darling"]["rejected_low"] < 0.05
    assert of_gaussian["anderson_darling"]["rejected_high"] < 0.25
    assert of_gaussian["mardia"]["low"] < 8.0 < of_gaussian["mardia"]["high"]
    assert of_gaussian["mardia"]["skewness"] < 0.01


def test_tails_and_angles_of_a_gaussian_are_within_bounds_at_the_promised_rate() -> None:
    n_inside = n_uniform = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = blob_gaussianity(rng.standard_normal((3000, 2)), seed=seed)
        tail, angles = found["tails"][1], found["angles"]
        n_inside += tail["low"] <= 1.0 <= tail["high"]
        n_uniform += angles["amplitude"] < angles["null_amplitude"]
    assert n_inside >= 52  # 95 % of 60 is 57; fewer than 52 happens once in a hundred times
    assert n_uniform >= 52


@pytest.mark.parametrize("kind", ["uniform disc", "Student-t", "square", "triangle", "crescent"])
def test_blobs_of_other_shapes_are_told_from_gaussian_ones(kind: str) -> None:
    angle, radius = RNG.uniform(0, 2 * np.pi, N), np.sqrt(RNG.random(N))
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    corners = np.array([[0.0, 1.0], [-0.9, -0.5], [0.9, -0.5]])[RNG.integers(0, 3, N)]
    blob = {
        "uniform disc": circle * radius[:, None],
        "Student-t": RNG.standard_t(5, (N, 2)),
        "square": RNG.random((N, 2)),
        "triangle": 2 * corners + RNG.standard_normal((N, 2)),
        "crescent": np.column_stack([circle[:, 0], circle[:, 0] ** 2 + 0.1 * circle[:, 1]]),
    }[kind]
    found = blob_gaussianity(blob)
    heavy = kind == "Student-t"
    if kind != "triangle":
        assert found["radial_ks"]["low"] > 0.0
    if kind in ("uniform disc", "square", "Student-t"):
        assert (found["tails"][1]["low"] > 1.0) == heavy
        assert (found["tails"][1]["high"] < 1.0) != heavy
        assert (found["mardia"]["low"] > 8.0) == heavy
    if kind in ("uniform disc", "Student-t"):
        assert found["angles"]["kuiper"] < 0.02 or heavy
    else:
        assert found["angles"]["low"] > 0.0
    assert found["anderson_darling"]["rejected_low"] > 0.05
    assert found["angles"]["harmonic"] == {"square": 4, "triangle": 3}.get(
        kind, found["angles"]["harmonic"]
    )


def test_measures_do_not_depend_on_units_or_place() -> None:
    pairs = RNG.laplace(size=(5000, 2)) + RNG.random((5000, 1))
    there = blob_gaussianity(pairs)
    here = blob_gaussianity(pairs * (1e3, 1e-3) - (2.0, 0.5))
    for section, key in (("radial_ks", "distance"), ("mardia", "kurtosis")):
        assert here[section][key] == pytest.approx(there[section][key], rel=1e-6)
    rotation = np.array([[0.6, -0.8], [0.8, 0.6]])
    turned = blob_gaussianity(pairs @ rotation)
    assert turned["angles"]["kuiper"] == pytest.approx(there["angles"]["kuiper"], abs=1e-9)


def test_the_radial_distance_is_scipys_kolmogorov_smirnov_statistic() -> None:
    blob = white(RNG.laplace(size=(3000, 2)))
    expected = stats.kstest((blob**2).sum(axis=1), stats.chi2(2).cdf).statistic
    assert radial_distance(blob)["distance"] == pytest.approx(expected, rel=1e-12)


def test_anderson_darling_is_scipys_statistic_with_stephens_correction() -> None:
    lines = RNG.laplace(size=(4, 300))
    found = anderson_darling(lines)
    for line, value in zip(lines, found.tolist(), strict=True):
        expected = stats.anderson(line, "norm", method="interpolate").statistic
        assert value == pytest.approx(expected * (1 + 0.75 / 300 + 2.25 / 300**2), rel=1e-9)


def test_mardias_moments_are_those_of_the_definition() -> None:
    pairs = RNG.gamma(2.0, size=(400, 2))
    inner = white(pairs) @ white(pairs).T
    found = mardia_moments(white(pairs))
    assert found["skewness"] == pytest.approx(float((inner**3).mean()), rel=1e-9)
    assert found["kurtosis"] == pytest.approx(float((np.diag(inner) ** 2).mean()), rel=1e-9)


def test_a_large_blob_is_sampled_and_says_so() -> None:
    found = blob_gaussianity(gaussian(), max_sample=5000)
    assert (found["n_pairs"], found["n_used"]) == (N, 5000)
    assert found["radial_ks"]["high"] > 0.01


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (gaussian(19), "fewer than"),
        (np.column_stack([np.arange(50.0), np.ones(50)]), "on a line"),
        (np.column_stack([np.arange(50.0), 2 * np.arange(50.0)]), "on a line"),
    ],
)
def test_blobs_that_cannot_be_judged_have_a_reason(blob: np.ndarray, said: str) -> None:
    found = blob_gaussianity(blob)
    assert said in found["reason"]
    assert found["radial_ks"] is found["mardia"] is None


def test_wilsons_interval_is_scipys() -> None:
    for n_hits, n in ((0, 10), (3, 10), (997, 1000)):
        expected = stats.binomtest(n_hits, n).proportion_ci(method="wilson")
        assert wilson_interval(n_hits, n) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert wilson_interval(0, 7000)[0] == 0.0
    assert wilson_interval(7000, 7000)[1] == 1.0
