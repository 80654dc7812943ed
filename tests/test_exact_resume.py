"""Killed at any moment and resumed, a run ends with the weights that it would have had anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from diagnostics.contract.folder import RunFolder
from tests.chaos import Campaign, Trainers, fire_config
from tests.conftest import strict_json, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
N_EPOCHS = 150


@pytest.fixture(scope="module")
def trainers() -> Iterator[Trainers]:
    started = Trainers()
    yield started
    started.close()


@pytest.fixture(scope="module")
def whole(trainers: Trainers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing interrupts."""
    root = tmp_path_factory.mktemp("whole")
    config = fire_config(root / "config.json", epochs=N_EPOCHS)
    pid = trainers.start(config, "--output-dir", root / "run", "--quiet", log=root / "log")
    assert trainers.wait(pid) == 0, (root / "log").read_text()
    return root / "run"


def differences(one: Path, other: Path) -> list[str]:
    a, b = (torch.load(run / "model.pth", weights_only=True) for run in (one, other))
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


def kill_until_it_ends(
    campaign: Campaign, n_kills: int, before_resume: Callable[[Path], None] = lambda run: None
) -> dict[str, Any]:
    """Kill the trainer ``n_kills`` times, resume it each time, and let it come to its end."""
    for _ in range(n_kills):
        campaign.kill_trainer()
        before_resume(campaign.folder)
        campaign.resume()
    assert campaign.trainers.wait(campaign.pid) == 0, campaign.last_words()
    assert campaign.n_kills["trainer"] == n_kills
    return campaign.check()


@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_at_any_moment_and_resumed_ends_with_the_same_weights_bit_for_bit(
    trainers: Trainers, whole: Path, tmp_path: Path, seed: int
) -> None:
    """Five runs of five kills each, about half of them inside the write of a checkpoint."""
    config = fire_config(tmp_path / "config.json", epochs=N_EPOCHS)
    campaign = Campaign(trainers, tmp_path / "run", config, seed, wait_s=0.1)
    results = kill_until_it_ends(campaign, 5)
    assert differences(campaign.folder, whole) == []
    reference = strict_json(whole / "results.json")["training_history"]
    for one, other in zip(results["training_history"], reference, strict=True):
        assert (one["train"], one["test"]) == (other["train"], other["test"])


def test_control_resuming_without_the_optimizers_memory_gives_other_weights(
    trainers: Trainers, whole: Path, tmp_path: Path
) -> None:
    def forget(run: Path) -> None:
        path = RunFolder(run).checkpoint
        content = torch.load(path, weights_only=True)
        for state in content["optimizer"]["state"].values():
            state["exp_avg"].zero_()
        torch.save(content, path)

    config = fire_config(tmp_path / "config.json", epochs=N_EPOCHS)
    campaign = Campaign(trainers, tmp_path / "run", config, seed=0, wait_s=0.1)
    wait_for(campaign.files.checkpoint.exists, 300)
    kill_until_it_ends(campaign, 1, forget)
    assert differences(campaign.folder, whole) != []
