"""The command ``python -m trainer``, as a user runs it: real processes, sockets, files, signals."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diagnostics.contract.results import read_results
from tests.conftest import epochs_of, run, start, strict_json, tiny_config, wait_for

Write = Callable[..., Path]
GUIDE_KEYS = {
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
}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(folder / "model.pth", weights_only=True)
    return loaded


def assert_same_weights(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_a_run_writes_complete_strict_results_and_everything_else(
    tmp_path: Path, write_config: Write
) -> None:
    status, out, err = run(
        "trainer", write_config(), "--output-dir", tmp_path / "run", cwd=tmp_path
    )
    assert (status, err) == (0, "")
    assert "epoch 3/3" in out
    assert f"results folder: {tmp_path / 'run'}" in out
    results = strict_json(tmp_path / "run" / "results.json")
    assert results["status"] == "completed"
    assert epochs_of(results) == [1, 2, 3]
    for entry in results["training_history"]:
        assert set(entry["train"]) == {"loss", "scaled_loss", "loss_on", "loss_off"}
        assert set(entry["test"]) == {"scaled_loss", "loss_on", "loss_off"}
        assert set(entry["diagnostics"]) >= GUIDE_KEYS | {"n_blobs", "blob_separation"}
        assert entry["timing"]["samples_per_second"] > 0
        assert entry["timing"]["peak_memory_bytes"] > 10_000_000
        assert "diagnostic_errors" not in entry
    assert results["final_metrics"]["epoch"] == 3
    assert results["final_metrics"]["test"] == results["training_history"][-1]["test"]
    assert results["training_duration_seconds"] > 0
    assert set(weights(tmp_path / "run")) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {"config.json", "results.json", "events.log", "checkpoint.pt", "model.pth"}
    assert not [name for name in names if name.endswith(".tmp")]
    assert not list((tmp_path / "run" / ".blobwatch" / "snapshots").iterdir())


@pytest.mark.slow
def test_a_run_can_be_repeated_from_its_own_config(tmp_path: Path, write_config: Write) -> None:
    first = ("trainer", write_config(), "--output-dir", tmp_path / "a", "--set", "seed=5")
    assert run(*first, "--quiet", cwd=tmp_path)[0] == 0
    config = strict_json(tmp_path / "a" / "config.json")
    assert config["data"]["seed"] == 5
    again = ("trainer", tmp_path / "a" / "config.json", "--output-dir", tmp_path / "b")
    assert run(*again, "--quiet", cwd=tmp_path)[0] == 0
    assert_same_weights(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_diagnostics_never_change_the_weights(tmp_path: Path, write_config: Write) -> None:
    for name, enabled in (("on", "true"), ("off", "false")):
        setting = f"enable_diagnostics={enabled}"
        folder = tmp_path / name
        command = ("trainer", write_config(), "--output-dir", folder, "--set", setting)
        assert run(*command, "--quiet", cwd=tmp_path)[0] == 0
    assert_same_weights(tmp_path / "on", tmp_path / "off")
    without = strict_json(tmp_path / "off" / "results.json")
    assert epochs_of(without) == [1, 2, 3]
    assert all("diagnostics" not in entry for entry in without["training_history"])


def test_the_default_folder_is_experiments_name_stamp(tmp_path: Path, write_config: Write) -> None:
    assert run("trainer", write_config(), "--name", "x y", "--quiet", cwd=tmp_path)[0] == 0
    (folder,) = (tmp_path / "experiments").iterdir()
    assert folder.name.startswith("x y_2")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope.json"], "nope.json: cannot read (No such file or directory)"),
        (["quick_3blob", "--set", "training.epoch=3"], "did you mean epochs?"),
        (["quick_3blob", "--set", "batch_size=0"], "training.batch_size: got 0"),
        (["quick_3blob", "--set", "epochs"], "must be KEY=VALUE"),
        (["quick_3blob", "--device", "tpu"], "data.device"),
        ([], "which configuration?"),
        (["--resume", "nowhere"], "nowhere: no such run, neither a path nor in experiments/"),
        (["quick_3blob", "--output-dir", "taken"], "--resume taken"),
        (["quick_3blob", "--output-dir", "file/x"], "cannot create the folder"),
        (["quick_3blob", "--set", "hidden_size=100000000"], "GiB for the weights alone"),
    ],
)
def test_bad_input_gets_one_clear_line_status_2_and_no_folder(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "results.json").write_text("{}")
    (tmp_path / "file").write_text("")
    status, out, err = run("trainer", *arguments, cwd=tmp_path)
    assert status == 2
    assert says in err
    assert len([line for line in err.splitlines() if "no GPU" not in line]) == 1
    assert "Traceback" not in err + out
    assert sorted(os.listdir(tmp_path)) == ["file", "taken"]


@pytest.mark.parametrize(
    "signal_number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_signal_interrupts_in_order_and_resuming_gives_the_same_weights_bit_for_bit(
    tmp_path: Path, write_config: Write, signal_number: int
) -> None:
    config = write_config(epochs=100)
    folder = tmp_path / "run"
    process = start("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)
    wait_for(lambda: (folder / "checkpoint.pt").exists())
    process.send_signal(signal_number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal_number, err
    assert f"continue with: python -m trainer --resume {folder}" in out
    results = strict_json(folder / "results.json")
    assert results["status"] == "interrupted"
    assert results["status_reason"] == f"stopped by {signal.Signals(signal_number).name}"
    done = len(results["training_history"])
    assert 0 < done < 100

    assert run("trainer", "--resume", folder, "--quiet", cwd=tmp_path)[0] == 0
    whole = tmp_path / "whole"
    assert run("trainer", config, "--output-dir", whole, "--quiet", cwd=tmp_path)[0] == 0
    assert_same_weights(folder, whole)
    resumed = strict_json(folder / "results.json")
    assert epochs_of(resumed) == list(range(1, 101))
    assert [segment["status"] for segment in resumed["segments"]] == ["interrupted", "completed"]
    reference = strict_json(whole / "results.json")
    for one, other in zip(resumed["training_history"], reference["training_history"], strict=True):
        assert one["train"] == other["train"]
        assert one["test"] == other["test"]


def test_a_second_sigint_stops_at_once_with_valid_files(
    tmp_path: Path, write_config: Write
) -> None:
    folder = tmp_path / "run"
    config = write_config(epochs=10**6)
    process = start("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)
    wait_for(lambda: (folder / "results.json").exists())
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    wait_for(lambda: read_results(folder / "results.json").status == "interrupted")
    torch.load(folder / "checkpoint.pt", weights_only=True)


def test_a_completed_run_can_be_given_more_epochs(tmp_path: Path, write_config: Write) -> None:
    folder = tmp_path / "run"
    run("trainer", write_config(), "--output-dir", folder, "--quiet", cwd=tmp_path)
    status, out, _ = run("trainer", "--resume", folder, cwd=tmp_path)
    assert status == 0
    assert "complete with 3 epochs; for more, add --set training.epochs=6" in out
    resume = ("trainer", "--resume", folder, "--set", "training.epochs=5", "--quiet")
    assert run(*resume, cwd=tmp_path)[0] == 0
    results = strict_json(folder / "results.json")
    assert epochs_of(results) == [1, 2, 3, 4, 5]
    assert results["status"] == "completed"
    assert strict_json(folder / "config.json")["training"]["epochs"] == 5
    whole = tmp_path / "whole"
    command = ("trainer", write_config(epochs=5), "--output-dir", whole, "--quiet")
    assert run(*command, cwd=tmp_path)[0] == 0
    assert_same_weights(folder, whole)


def test_fewer_epochs_than_are_trained_are_refused_and_change_nothing(
    tmp_path: Path, write_config: Write
) -> None:
    folder = tmp_path / "run"
    run("trainer", write_config(), "--output-dir", folder, "--quiet", cwd=tmp_path)
    before = [(folder / name).read_bytes() for name in ("config.json", "results.json")]
    status, _, err = run("trainer", "--resume", folder, "--set", "epochs=2", cwd=tmp_path)
    assert status == 2
    assert "config.json: training.epochs 2: 3 are trained already; take 3 or more" in err
    assert [(folder / name).read_bytes() for name in ("config.json", "results.json")] == before


def test_what_would_change_the_mathematics_cannot_change_on_resume(
    tmp_path: Path, write_config: Write
) -> None:
    folder = tmp_path / "run"
    run("trainer", write_config(), "--output-dir", folder, "--quiet", cwd=tmp_path)
    status, _, err = run("trainer", "--resume", folder, "--set", "batch_size=7", cwd=tmp_path)
    assert status == 2
    assert "training.batch_size: cannot change when a run is resumed" in err


def test_a_second_trainer_is_refused(tmp_path: Path, write_config: Write) -> None:
    folder = tmp_path / "run"
    config = write_config(epochs=10**6)
    process = start("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)
    try:
        wait_for(lambda: (folder / "results.json").exists())
        status, _, err = run("trainer", "--resume", folder, cwd=tmp_path)
        assert status == 2
        assert f"a trainer is at work here (process {process.pid})" in err
    finally:
        process.kill()
        process.communicate()


def test_a_nonfinite_loss_is_recorded_and_ends_the_run_as_failed(
    tmp_path: Path, write_config: Write
) -> None:
    folder = tmp_path / "run"
    config = write_config(learning_rate=1e30, optimizer_type="sgld")
    status, out, _ = run("trainer", config, "--output-dir", folder, cwd=tmp_path)
    assert status == 1
    assert "failed: the training loss became" in out
    results = strict_json(folder / "results.json")
    assert results["status"] == "failed"
    assert "loss became" in results["status_reason"]
    last = results["training_history"][-1]
    assert last["train"]["loss"] is None
    assert last["nonfinite"]["train.loss"] in ("nan", "inf")
    assert last["diagnostics"]["n_pairs_analyzed"] == 0


def test_epoch_checkpoints_are_kept_on_request(tmp_path: Path, write_config: Write) -> None:
    folder = tmp_path / "run"
    config = write_config(save_epoch_checkpoints=True)
    assert run("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)[0] == 0
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["epoch_0001.pth", "epoch_0002.pth", "epoch_0003.pth"]


def test_hostile_names_of_experiments_work(tmp_path: Path) -> None:
    name = "ü 'x\" \n$(touch pwned) " + "n" * 150
    config = tmp_path / "c.json"
    config.write_text(json.dumps(tiny_config(epochs=1) | {"experiment_name": name}))
    status, _, err = run("trainer", config, "--quiet", cwd=tmp_path)
    assert (status, err) == (0, "")
    (folder,) = (tmp_path / "experiments").iterdir()
    assert strict_json(folder / "results.json")["experiment_name"] == name
    assert not (tmp_path / "pwned").exists()
