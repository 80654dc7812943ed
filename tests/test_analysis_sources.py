"""Where an analysis finds its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diagnostics.analysis.experiment import analyze_experiment
from diagnostics.contract.errors import BlobwatchError, UnknownNameError, UnreadableFileError
from diagnostics.contract.naming import find_run
from tests.analysed_runs import make_run, save, three_blobs
from tests.conftest import strict_json


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path)


def test_an_experiments_name_means_its_most_recent_run(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent.parent)
    newer = Path("experiments/mine_20260119_090000")
    newer.mkdir()
    Path("experiments/mine_too_20260120_090000").mkdir()
    assert find_run("mine") == newer
    assert find_run(str(run)) == run
    with pytest.raises(UnknownNameError, match="did you mean mine"):
        find_run("mime")


@pytest.mark.slow
def test_files_that_differ_in_their_suffix_alone_get_reports_of_their_own(tmp_path: Path) -> None:
    weights = {"fc1.weight": np.ones((4, 8), "f4"), "fc2.weight": np.ones((8, 4), "f4")}
    np.savez(tmp_path / "w.npz", **weights)
    torch.save(
        {name: torch.from_numpy(array) for name, array in weights.items()}, tmp_path / "w.pth"
    )
    for name in ("w.npz", "w.pth"):
        analyze_experiment(tmp_path / name)
    sources = [
        strict_json(tmp_path / f"{start}_decoupling_metrics.json")["source"]
        for start in ("w_npz", "w_pth")
    ]
    assert [Path(source).name for source in sources] == ["w.npz", "w.pth"]


def test_of_a_file_that_holds_more_than_tensors_nobody_is_told_to_trust_it(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("{}")
    with pytest.raises(UnreadableFileError, match=r"w\.pth: not a file of weights: neither NPZ"):
        analyze_experiment(tmp_path / "w.pth")


@pytest.mark.slow
def test_one_damaged_epoch_does_not_cost_the_others_their_trend(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = run / "checkpoints" / "epoch_0002.pth"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    found = analyze_experiment(run, epochs="all")
    assert [row["epoch"] for row in found["trend"]] == [1, 3]
    (reason,) = found["left_out"]
    assert reason == f"{damaged}: not a file of weights: damaged or cut off"
    assert reason in caplog.text
    assert f"Left out: {reason}" in (run / "analysis.md").read_text()
    with pytest.raises(UnreadableFileError, match="damaged or cut off"):
        analyze_experiment(run, epochs="2")


@pytest.mark.slow
def test_a_trace_of_stage_two_is_analysed_beside_stage_one(run: Path) -> None:
    for epoch in (1, 2):
        save(run / "checkpoints" / f"trace_01_epoch_{epoch:04d}.pth", 0.0)
    save(run / "trace_01.pth", 0.0)
    analyze_experiment(run)
    whole = analyze_experiment(run, epochs="all", trace=1)
    assert [row["epoch"] for row in whole["trend"]] == [1, 2]
    assert Path(whole["report"]).name == "trace_01_analysis.md"
    assert "trace 1, epoch 2" in Path(whole["report"]).read_text().splitlines()[0]
    assert "trace" not in (run / "analysis.md").read_text().splitlines()[0]
    last = analyze_experiment(run, trace=1, save_metrics=False)
    assert (last["trace"], last["weights_file"]) == (1, str(run / "trace_01.pth"))
    with pytest.raises(BlobwatchError, match=r"no weights here \(no trace_05\.pth\)"):
        analyze_experiment(run, trace=5)


def test_a_checkpoint_of_stage_two_says_its_trace(run: Path) -> None:
    encoder, decoder = (torch.from_numpy(array) for array in three_blobs())
    state = {"fc1.weight": encoder, "fc2.weight": decoder}
    torch.save({"model": state, "position": {"epoch": 4, "trace": 1}}, run / "checkpoint.pt")
    found = analyze_experiment(run / "checkpoint.pt", save_metrics=False)
    assert (found["trace"], found["epoch"]) == (1, 3)


def test_damaged_results_do_not_keep_the_weights_from_being_analysed(run: Path) -> None:
    (run / "results.json").write_text('{"training_history": [')
    found = analyze_experiment(run)
    assert found["blob_structure"]["n_blobs"] == 3 and found["blob_born_epoch"] is None
    (reason,) = found["left_out"]
    assert "results.json" in reason and f"python -m diagnostics {run} writes it anew" in reason
