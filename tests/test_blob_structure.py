"""What blob_structure promises, on clouds whose blobs are known by construction."""

from __future__ import annotations

import json
import types
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from diagnostics.blobs import blob_structure, find_blobs
from diagnostics.blobs.clouds import (
    UNIMODAL,
    Cloud,
    make_blobs,
    make_random_cloud,
    make_unimodal,
)
from diagnostics.builtin.blob_structure import BlobStructure
from diagnostics.contract.density import build_density
from diagnostics.testing import fake_epoch

torch = pytest.importorskip("torch")
Points = npt.NDArray[np.float64]


def describe(points: Points, **options: Any) -> dict[str, Any]:
    """Blob structure of (n, 2) points."""
    cloud = Cloud("made by hand", 0, points.astype(np.float32))
    return blob_structure(*cloud.as_weights(), **options)


def three_blobs(n_pairs: int = 200_000, outer_share: float = 0.012, seed: int = 0) -> Points:
    """The reference run's structure: a tight centre and two small outer blobs, decoder narrow."""
    rng = np.random.default_rng(seed)
    n_outer = int(outer_share * n_pairs)
    points = rng.standard_normal((n_pairs, 2)) * [0.15, 0.012]
    points[:n_outer] += [1.37, 0.084]
    points[n_outer : 2 * n_outer] -= [1.37, 0.084]
    return rng.permutation(points)


def test_three_blobs_are_described_where_they_are() -> None:
    found = describe(three_blobs())
    assert found["n_blobs"] == 3 and found["separation"] > 0.9
    centre, *outer = found["blobs"]
    assert centre["share"] == pytest.approx(0.976, abs=0.001)
    assert centre["center"] == pytest.approx([0.0, 0.0], abs=0.002)
    for blob in outer:
        sign = np.sign(blob["center"][0])
        assert blob["center"] == pytest.approx([sign * 1.37, sign * 0.084], rel=0.02)
        assert blob["share"] == pytest.approx(0.012, rel=0.03)
        assert blob["std"] == pytest.approx([0.15, 0.012], rel=0.1)
        assert blob["correlation"] == pytest.approx(0.0, abs=0.1)


def test_a_small_blob_has_a_silhouette_of_its_own_beside_the_mean() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    points = three_blobs(30_000, outer_share=0.05)
    found = describe(points)
    labels = np.digitize(points[:, 0], [-0.7, 0.7])
    unit = points / points.std(axis=0)
    pick = np.random.default_rng(0).choice(len(points), 4000, replace=False)
    expected = sklearn_metrics.silhouette_samples(unit[pick], labels[pick])
    assert found["blob_silhouette"] == pytest.approx(expected.mean(), abs=0.06)
    for blob in found["blobs"]:
        which = labels[pick] == int(np.digitize(blob["center"][0], [-0.7, 0.7]))
        assert blob["silhouette"] == pytest.approx(expected[which].mean(), abs=0.06)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("axis", [0, 1])
def test_rescaling_either_axis_changes_nothing_but_the_scale(scale: float, axis: int) -> None:
    points = three_blobs()
    factor = np.where(np.arange(2) == axis, scale, 1.0)
    plain, scaled = describe(points), describe(points * factor)
    assert scaled["n_blobs"] == 3
    assert scaled["separation"] == pytest.approx(plain["separation"], abs=0.01)
    for a, b in zip(plain["blobs"], scaled["blobs"], strict=True):
        assert b["share"] == pytest.approx(a["share"], rel=0.01)
        assert np.divide(b["std"], factor) == pytest.approx(a["std"], rel=0.01)


def test_swapping_the_axes_changes_nothing_but_the_order() -> None:
    points = three_blobs()
    plain, swapped = describe(points), describe(points[:, ::-1])
    assert swapped["n_blobs"] == 3
    assert swapped["separation"] == pytest.approx(plain["separation"], abs=0.01)
    assert swapped["correlation"] == pytest.approx(plain["correlation"], rel=1e-9)


@pytest.mark.parametrize("n_blobs", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("seed", [1, 2])
def test_one_to_six_unequal_anisotropic_correlated_blobs_are_found(n_blobs: int, seed: int) -> None:
    cloud = make_blobs(n_blobs, np.random.default_rng([n_blobs, seed]), 200_000)
    assert blob_structure(*cloud.as_weights())["n_blobs"] == n_blobs


def test_a_blob_of_a_tenth_of_a_percent_is_found() -> None:
    found = describe(three_blobs(outer_share=0.001))
    assert found["n_blobs"] == 3
    assert found["blobs"][2]["share"] == pytest.approx(0.001, rel=0.15)


def test_a_blob_twenty_times_longer_than_wide_is_one_blob() -> None:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((100_000, 2)) * [1.0, 0.05]
    points[50_000:] += [0.0, 0.6]
    assert describe(points)["n_blobs"] == 2


@pytest.mark.parametrize("kind", sorted(UNIMODAL))
@pytest.mark.parametrize("n_pairs", [5_000, 60_000])
def test_unimodal_clouds_are_one_blob_with_separation_near_zero(kind: str, n_pairs: int) -> None:
    # Along the crest of a ring of few pairs, chance makes shallow valleys.
    limit = 0.35 if kind == "ring" else 0.1
    for seed in range(4):
        cloud = make_unimodal(kind, np.random.default_rng(seed), n_pairs)
        found = blob_structure(*cloud.as_weights())
        assert found["n_blobs"] == 1 and found["separation"] < limit, seed


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(UNIMODAL))
def test_unimodal_clouds_of_five_million_pairs_are_one_blob(kind: str) -> None:
    cloud = make_unimodal(kind, np.random.default_rng(9), 5_000_000)
    found = blob_structure(*cloud.as_weights())
    assert found["n_blobs"] == 1 and found["separation"] < 0.2


def test_a_speck_below_a_twentieth_of_a_percent_is_no_blob() -> None:
    found = describe(three_blobs(outer_share=0.0003))
    assert found["n_blobs"] == 1 and found["separation"] < 0.3


def test_a_valley_that_the_counts_do_not_establish_is_no_valley() -> None:
    rng = np.random.default_rng(5)
    # Two normal densities 2.4 sigma apart: a true valley of about 10 %.
    points = rng.standard_normal((5_000, 2)) + np.outer(rng.integers(0, 2, 5_000) * 2.4, [1, 0])
    assert describe(points)["n_blobs"] == 1


def test_a_bridge_of_stray_pairs_does_not_join_two_blobs() -> None:
    points = three_blobs()
    rng = np.random.default_rng(6)
    along = rng.uniform(-1.37, 1.37, 2_000)
    bridge = np.column_stack([along, along * 0.0613 + rng.normal(0.0, 0.004, 2_000)])
    found = describe(np.vstack([points, bridge]))
    assert found["n_blobs"] == 3 and 0.3 < found["separation"] < 0.98


def test_a_ring_is_one_blob_and_a_ring_around_a_centre_two() -> None:
    ring = UNIMODAL["ring"](np.random.default_rng(7), 100_000)
    centre = 0.1 * np.random.default_rng(8).standard_normal((50_000, 2))
    assert describe(ring)["n_blobs"] == 1
    assert describe(np.vstack([ring, centre]))["n_blobs"] == 2


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@pytest.mark.parametrize("offset", [0.0, 1.0, 10.0, 50.0])
def test_half_precision_weights_are_not_hundreds_of_blobs(name: str, offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn(256, 512, generator=generator) + offset
    decoder = 0.1 * (torch.randn(512, 256, generator=generator) - offset)
    kind = getattr(torch, name)
    assert blob_structure(encoder.to(kind), decoder.to(kind))["n_blobs"] == 1


def test_half_precision_keeps_three_blobs_three() -> None:
    encoder, decoder = Cloud("", 3, three_blobs().astype(np.float32)).as_weights()
    halves = [torch.tensor(w).to(torch.bfloat16) for w in (encoder, decoder)]
    assert blob_structure(*halves)["n_blobs"] == 3


def test_integer_quantised_weights_are_one_blob_and_few_levels_are_what_they_are() -> None:
    rng = np.random.default_rng(8)
    many = np.round(rng.standard_normal((100_000, 2)) * [30.0, 6.0])
    assert describe(many)["n_blobs"] == 1
    signs = rng.choice([-1.0, 1.0], (100_000, 1))
    assert describe(np.hstack([signs, rng.standard_normal((100_000, 1))]))["n_blobs"] == 2


def test_constant_weights_and_a_single_pair_are_one_blob() -> None:
    for shape in ((16, 32), (1, 1)):
        found = blob_structure(np.full(shape, 0.3), np.full(shape[::-1], -1.0))
        assert (found["n_blobs"], found["separation"], found["correlation"]) == (1, 0.0, None)
        assert found["blobs"][0]["center"] == [0.3, -1.0]


def test_without_finite_weights_there_are_no_blobs() -> None:
    found = blob_structure(np.full((4, 5), np.nan), np.full((5, 4), np.nan))
    assert found["n_blobs"] == 0 and found["separation"] is None and found["blobs"] == []
    assert found["n_nonfinite_pairs"] == 20


@pytest.mark.parametrize("blobs", [1, 3])
def test_the_result_is_strict_json_with_the_documented_keys(blobs: int) -> None:
    found = describe(three_blobs(outer_share=0.012 if blobs == 3 else 0.0))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {
        "n_blobs", "separation", "blob_silhouette", "correlation", "encoder_mean", "encoder_std",
        "decoder_mean", "decoder_std", "n_pairs", "n_nonfinite_pairs", "blobs",
    }  # fmt: skip
    keys = {"center", "share", "std", "correlation", "depth", "silhouette"}
    assert len(found["blobs"]) == blobs and all(set(b) == keys for b in found["blobs"])
    shares = [b["share"] for b in found["blobs"]]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1.0)


def test_moments_are_exact_over_all_pairs() -> None:
    points = three_blobs().astype(np.float32).astype(np.float64)
    found = describe(points)
    assert found["correlation"] == pytest.approx(np.corrcoef(points.T)[0, 1], rel=1e-6)
    assert found["encoder_std"] == pytest.approx(points[:, 0].std(), rel=1e-6)
    assert found["decoder_mean"] == pytest.approx(points[:, 1].mean(), rel=1e-6)


def test_a_model_and_its_two_weights_give_the_same_answer() -> None:
    encoder, decoder = Cloud("", 3, three_blobs().astype(np.float32)).as_weights()
    tensors = torch.tensor(encoder, requires_grad=True), torch.tensor(decoder, requires_grad=True)
    layers = [types.SimpleNamespace(weight=w) for w in tensors]
    model = types.SimpleNamespace(fc1=layers[0], fc2=layers[1])
    assert blob_structure(model) == blob_structure(*tensors) == blob_structure(encoder, decoder)
    with pytest.raises(TypeError, match=r"fc1\.weight"):
        blob_structure(encoder)


def test_separation_rises_steadily_while_blobs_part_and_foretells_the_count() -> None:
    rng = np.random.default_rng(11)
    which = np.where(rng.random(300_000) < 0.03, rng.choice([-1, 1], 300_000), 0)
    noise = rng.standard_normal((300_000, 2)) * [0.25, 0.02]
    history = []
    for distance in np.linspace(0.5, 1.5, 21):
        points = noise + np.outer(which * distance, [1.0, 0.06])
        history.append(describe(points))
    separations = np.array([h["separation"] for h in history])
    counts = [h["n_blobs"] for h in history]
    assert separations[0] < 0.05 and separations[-1] > 0.9
    assert np.diff(separations).min() > -0.05 and np.diff(separations).max() < 0.35
    assert counts == sorted(counts) and (counts[0], counts[-1]) == (1, 3)
    before = [s for s, n in zip(separations, counts, strict=True) if n == 1]
    assert sum(s > 0.03 for s in before) >= 4  # seen coming, well before the count jumps


def test_a_shoulder_is_seen_before_there_is_a_valley() -> None:
    rng = np.random.default_rng(12)
    centre = rng.standard_normal((300_000, 2)) * [0.3, 0.02]
    # A flat stretch to one side: the density falls all the way, and nowhere twice.
    reach = rng.uniform(0.0, 1.5, 20_000)
    flat = np.column_stack([reach, 0.06 * reach + rng.normal(0.0, 0.01, 20_000)])
    plain, bent = describe(centre), describe(np.vstack([centre, flat]))
    assert plain["n_blobs"] == bent["n_blobs"] == 1
    assert plain["separation"] == 0.0 and 0.1 < bent["separation"] <= 0.4


def test_separation_is_the_depth_of_the_weakest_blob() -> None:
    found = describe(three_blobs())
    assert found["separation"] == min(blob["depth"] for blob in found["blobs"])


def test_blobs_are_born_when_their_number_appeared_and_in_each_trace_anew() -> None:
    def born(number: int, kind: str, previous: dict[str, Any]) -> Any:
        epoch = fake_epoch(kind, parts={"density"}, epoch=number, previous=previous)
        return BlobStructure().compute(epoch)["blob_born_epoch"]

    assert born(1, "three_blobs", {}) == 1
    assert born(7, "three_blobs", {"n_blobs": 1, "blob_born_epoch": 1}) == 7
    assert born(8, "three_blobs", {"n_blobs": 3, "blob_born_epoch": 7}) == 7
    # The first epoch of a trace of stage two, after stage one's last.
    assert born(1, "three_blobs", {"n_blobs": 3, "blob_born_epoch": 7}) == 1


def test_a_grid_that_travelled_gives_the_same_blobs() -> None:
    grid = build_density(*Cloud("", 3, three_blobs().astype(np.float32)).as_weights())
    again = type(grid).from_compact(grid.compact())
    assert find_blobs(again) == find_blobs(grid)


@pytest.mark.parametrize("seed", range(12))
def test_random_clouds_of_the_family_are_counted_right(seed: int) -> None:
    cloud = make_random_cloud(seed, n_pairs=65_536)
    assert blob_structure(*cloud.as_weights())["n_blobs"] == cloud.n_blobs, cloud.kind


@pytest.mark.slow
def test_at_least_99_percent_of_a_thousand_random_clouds_are_counted_right() -> None:
    wrong = []
    for seed in range(1000, 2000):
        cloud = make_random_cloud(seed)
        found = blob_structure(*cloud.as_weights())["n_blobs"]
        if found != cloud.n_blobs:
            wrong.append((seed, cloud.kind, len(cloud.pairs), found))
    assert len(wrong) <= 10, wrong


@pytest.mark.parametrize(
    "options",
    [{"min_depht": 0.3}, {"min_depth": float("nan")}, {"min_share": 2}, {"confidence": -5}],
)
def test_options_of_the_diagnostic_that_make_no_sense_are_refused_when_it_is_loaded(
    options: dict[str, float],
) -> None:
    (name,) = options
    with pytest.raises((TypeError, ValueError), match=name):
        BlobStructure(**options)
