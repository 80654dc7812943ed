from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diagnostics
from diagnostics.analysis.blob_members import blob_members, label_cells
from diagnostics.analysis.experiment import analyze_experiment, analyze_weights
from diagnostics.analysis.outputs import network_outputs
from diagnostics.analysis.saved_weights import SavedWeights
from diagnostics.blobs import find_blobs
from diagnostics.blobs.structure import DEFAULT_RULE
from diagnostics.contract.density import build_density
from diagnostics.contract.errors import BlobwatchError
from tests.analysed_runs import OUTER, SHAPE, make_run, save, three_blobs
from tests.conftest import strict_json


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("file")
    found = analyze_experiment(save(folder / "w.pth"), save_metrics=False)
    assert [path.name for path in folder.iterdir()] == ["w.pth"]
    return found


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = make_run(tmp_path_factory.mktemp("analysed"))
    return folder, diagnostics.analyze_experiment(folder, epochs="all")


def test_the_analysis_finds_what_was_built_in(found: dict[str, Any]) -> None:
    assert (found["hidden"], found["d"], found["statistics"]["n_pairs"]) == (*SHAPE, 16384)
    assert found["blob_structure"]["n_blobs"] == found["clustering"]["n_clusters_dbscan"] == 3
    assert found["clustering"]["n_pairs_analyzed"] == 16384
    assert found["mixture"]["best_n_components_bic"] == 3
    assert found["graph"]["n_edges"] == 2 * OUTER
    assert found["graph"]["n_positive_edges"] == OUTER
    assert found["graph"]["threshold_source"] == "from the blobs"
    assert [blob["n_pairs"] for blob in found["gaussianity"]] == [16384 - 2 * OUTER, OUTER, OUTER]
    for blob in found["gaussianity"]:
        assert blob["radial_ks"]["low"] == 0.0
        assert blob["mardia"]["low"] < 8.0 < blob["mardia"]["high"]


def test_statistics_are_numpys_in_float64(found: dict[str, Any]) -> None:
    statistics = found["statistics"]
    for name, array in zip(("encoder", "decoder"), three_blobs(), strict=True):
        exact = array.astype(np.float64)
        assert statistics[f"{name}_mean"] == pytest.approx(exact.mean(), abs=1e-9)
        assert statistics[f"{name}_std"] == pytest.approx(exact.std(), rel=1e-9)
        assert (statistics[f"{name}_min"], statistics[f"{name}_max"]) == (exact.min(), exact.max())


def test_members_of_a_blob_are_the_pairs_in_it() -> None:
    encoder, decoder = three_blobs()
    grid = build_density(encoder, decoder)
    blobs = find_blobs(grid)["blobs"]
    members = blob_members(encoder, decoder, grid, label_cells(grid))
    assert sum(map(len, members)) == encoder.size
    for blob, pairs in zip(blobs, members, strict=True):
        assert len(pairs) / encoder.size == pytest.approx(blob["share"])
        error = (pairs.mean(axis=0, dtype=np.float64) - blob["center"]) / blob["std"]
        assert np.abs(error).max() < 0.05
    outer = np.abs(encoder) > 0.7
    assert {len(pairs) for pairs in members[1:]} == {OUTER}
    assert sorted(np.concatenate(members[1:])[:, 0]) == sorted(encoder[outer])


@pytest.mark.parametrize("seed", range(6))
def test_labels_have_the_shares_that_find_blobs_reports(seed: int) -> None:
    from diagnostics.blobs.clouds import make_random_cloud

    grid = build_density(*make_random_cloud(seed, 16_384).as_weights())
    labels = label_cells(grid)
    shares = np.bincount(labels.ravel(), grid.counts.ravel()) / grid.n_pairs
    assert shares.tolist() == pytest.approx([b["share"] for b in find_blobs(grid)["blobs"]])
    strict = replace(DEFAULT_RULE, min_depth=0.999)
    merged = find_blobs(grid, min_depth=0.999)["n_blobs"]
    assert label_cells(grid, strict).max() + 1 == merged


def test_files_of_an_analysis_are_strict_json_markdown_and_pictures(
    analysed: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = analysed
    assert strict_json(folder / "decoupling_metrics.json") == json.loads(json.dumps(found))
    text = (folder / "analysis.md").read_text()
    assert "**3 blobs**" in text
    assert "nan" not in text.lower()
    pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(pictures) == 4
    for name in pictures:
        with Image.open(folder / name) as image:
            assert image.convert("L").getextrema()[0] < 100
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_every_epoch_gives_a_row_of_the_trend(analysed: tuple[Path, dict[str, Any]]) -> None:
    folder, found = analysed
    assert [row["epoch"] for row in found["trend"]] == [1, 2, 3]
    assert [row["n_blobs"] for row in found["trend"]] == [1, 1, 3]
    assert found["epoch"] == 3
    assert found["blob_born_epoch"] == 3
    text = (folder / "analysis.md").read_text()
    assert len(text.split("## Trend")[1].strip().splitlines()) == 2 + 3


def test_blobs_are_as_old_as_the_run_saw_them(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    entries = [
        {"epoch": epoch, "diagnostics": {"n_blobs": 1 if epoch < 2 else 3, "blob_born_epoch": 2}}
        for epoch in (1, 2, 3)
    ]
    (run / "results.json").write_text(json.dumps({"training_history": entries}))
    found = analyze_experiment(run, epochs="3")
    assert found["blob_born_epoch"] == 2
    assert "**3 blobs** since epoch 2" in (run / "analysis.md").read_text()


def test_a_threshold_of_ones_own_is_used(tmp_path: Path) -> None:
    encoder, decoder = three_blobs()
    weights = SavedWeights(Path(), None, encoder, decoder)
    found = analyze_weights(weights, build_density(encoder, decoder), threshold=0.1)
    assert found["graph"]["n_edges"] == int((np.abs(encoder) >= 0.1).sum())
    assert found["graph"]["threshold_source"] == "given"
    with pytest.raises(BlobwatchError, match="positive"):
        analyze_experiment(save(tmp_path / "w.pth"), threshold=-1.0)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_degenerate_weights_are_analysed_beside_their_file(tmp_path: Path, value: float) -> None:
    np.savez(
        tmp_path / "w.npz",
        **{"fc1.weight": np.full((8, 16), value), "fc2.weight": np.full((16, 8), value)},
    )
    analyze_experiment(tmp_path / "w.npz")
    metrics = strict_json(tmp_path / "w_decoupling_metrics.json")
    assert "(w_analysis_pairs.png)" in (tmp_path / "w_analysis.md").read_text()
    assert metrics["epoch"] is None
    assert metrics["mixture"]["reason"]
    assert metrics["statistics"]["n_pairs"] in (0, 128)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-37, 1e38, 3e38])
def test_weights_at_the_ends_of_float32_are_analysed_without_a_warning(
    tmp_path: Path, scale: float
) -> None:
    encoder, decoder = (scale * np.clip(array, -1, 1) for array in three_blobs(gap=0.9))
    np.savez(
        tmp_path / "w.npz",
        **{"fc1.weight": encoder.astype("f4"), "fc2.weight": decoder.astype("f4")},
    )
    found = analyze_experiment(tmp_path / "w.npz")
    assert found["blob_structure"]["n_blobs"] == 3
    assert found["statistics"]["encoder_std"] > 0


def test_outputs_are_those_of_the_network_on_sparse_noisy_signals() -> None:
    rng = np.random.default_rng(0)
    n, d, k = 4000, 12, 3
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((5, d), (d, 5), (5,), (d,))]
    found = network_outputs(
        SavedWeights(Path(), None, *arrays), sparsity=k, noise_variance=0.3, n_samples=n
    )
    assert (found.active.shape, found.inactive.shape) == ((n * k,), (n * (d - k),))
    # The same network in float64, on data made another way.
    x = np.zeros((n, d))
    for row in x:
        row[rng.choice(d, k, replace=False)] = 1
    w1, w2, b1, b2 = (array.astype(np.float64) for array in arrays)
    out = np.tanh((x + rng.normal(size=x.shape) * 0.3**0.5) @ w1.T + b1) ** 3 @ w2.T + b2
    for mine, theirs in ((found.active, out[x == 1]), (found.inactive, out[x == 0])):
        error = 4 * theirs.std() * (2 / len(theirs)) ** 0.5
        assert mine.mean() == pytest.approx(theirs.mean(), abs=error)
        assert mine.std() == pytest.approx(theirs.std(), rel=0.05)


def test_identity_without_noise_answers_exactly() -> None:
    eye = np.eye(6, dtype=np.float32)
    found = network_outputs(
        SavedWeights(Path(), None, eye, eye), sparsity=2, noise_variance=0.0, n_samples=50
    )
    np.testing.assert_allclose(found.active, np.tanh(1.0) ** 3, rtol=1e-6)
    assert not found.inactive.any()
