"""Runs from Python, and the guide's own examples, as they stand."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from diagnostics.contract.errors import UnknownNameError
from tests.conftest import tiny_config
from trainer import compare_experiments, create_config, load_results, quick_run, run_experiment
from trainer.runner import RunFailedError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def fake_run(name: str, **more: Any) -> Path:
    folder = Path("experiments") / name
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"folder": name, **more}))
    (folder / "config.json").write_text(json.dumps({"training": more.get("training", {})}))
    return folder


def test_an_experiment_runs_from_a_dict_that_stays_as_it_was() -> None:
    config = create_config(tiny_config())
    before = copy.deepcopy(config)
    results = run_experiment(config, "from_python", quiet=True)
    assert isinstance(results, dict)
    assert config == before
    assert results["experiment_name"] == "from_python"
    assert results["status"] == "completed"
    assert load_results("from_python") == results


def test_without_waiting_the_process_is_returned() -> None:
    process = run_experiment(tiny_config(), "later", wait=False, quiet=True)
    assert not isinstance(process, dict)
    assert process.wait(timeout=60) == 0
    assert len(load_results("later")["training_history"]) == 3


def test_a_failing_run_raises_and_names_its_folder() -> None:
    config = tiny_config(learning_rate=1e30, optimizer_type="sgld")
    with pytest.raises(RunFailedError, match=r"experiments/bad_\d+_\d+: the run ended with"):
        run_experiment(config, "bad", quiet=True)


@pytest.mark.slow
def test_quick_run_trains_a_small_preset() -> None:
    results = quick_run(epochs=1, n_train=500, d=32, hidden_size=8, device="cpu")
    assert results["training_history"][0]["epoch"] == 1


def test_load_results_takes_the_most_recent_by_time_not_by_order_of_names() -> None:
    fake_run("a_20260118_143022")
    fake_run("a_20260119_090000")
    newest = fake_run("a_20260119_090000_2")
    fake_run("a_20250101_000000")
    fake_run("a_b_20270101_000000")
    os.utime("experiments/a_20250101_000000", (time.time() + 99, time.time() + 99))
    assert load_results("a")["folder"] == newest.name
    assert load_results("a_20260118_143022")["folder"] == "a_20260118_143022"
    assert load_results(newest / "results.json")["folder"] == newest.name


def test_an_unknown_run_names_near_ones() -> None:
    fake_run("reference_3blob_20260118_143022")
    with pytest.raises(UnknownNameError, match=r"did you mean reference_3blob\?"):
        load_results("referense_3blob")


def test_compare_experiments_shows_how_they_ended_and_what_differs() -> None:
    history = [{"epoch": 2, "train": {"scaled_loss": 3.0}, "test": {"scaled_loss": 4.0}}]
    fake_run("a_20260118_143022", training={"lr": 1, "epochs": 2}, training_history=history)
    fake_run("b_20260118_143022", training={"lr": 2, "epochs": 2}, status="failed")
    one, two = compare_experiments(["a", "b"])
    assert (one["epochs"], one["test_loss"]) == (2, 4.0)
    assert one["config"] == {"training.lr": 1}
    assert two["config"] == {"training.lr": 2}
    assert two["status"] == "failed"


def guide_blocks() -> list[str]:
    guide = Path(__file__).parent / "guide_examples.md"
    return re.findall(r"```python\n(.*?)```", guide.read_text(), flags=re.DOTALL)


@pytest.mark.slow
def test_the_guides_examples_run_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's Python, with module names mapped, on a regime that takes seconds."""
    small = {"d": 16, "n_train": 20480, "n_val": 50, "device": "cpu", "save_plots": False}

    def small_config(base: str, **overrides: Any) -> dict[str, Any]:
        made = create_config(base, **(small | {"hidden_size": 8, "epochs": 2} | overrides))
        made["experiment_name"] = "optimized_3blob"
        return made

    monkeypatch.setattr("trainer.config.create_config", small_config)
    Path("configs").mkdir()
    scope: dict[str, Any] = {}
    run_experiment(small_config("reference_3blob"), "optimized_3blob", quiet=True)
    run_experiment(small_config("reference_3blob"), "my_experiment", quiet=True)
    (folder,) = Path("experiments").glob("my_experiment_*")
    folder.rename("experiments/my_experiment_20260118_143022")
    shutil.copytree("experiments/my_experiment_20260118_143022", "experiments/my_experiment")
    from trainer import TwoLayerNet

    scope["model"] = TwoLayerNet(16, 8)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("DISPLAY", raising=False)
    for block in guide_blocks():
        exec(compile(block, "guide", "exec"), scope)
    assert Path("blob_formation_analysis.png").stat().st_size > 10_000
    assert Path("batch_profile.md").exists()
