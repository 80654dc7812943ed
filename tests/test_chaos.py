"""No epoch lost, none twice: hundreds of kills of real runs (docs/reliability.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import Campaign, Trainers

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def trainers() -> Iterator[Trainers]:
    started = Trainers()
    yield started
    started.close()


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_no_epoch_is_lost_or_doubled_in_200_kills_of_the_diagnostics_process(
    trainers: Trainers, tmp_path: Path, write_config: Write, seed: int
) -> None:
    campaign = Campaign(trainers, tmp_path / "run", write_config(), seed)
    while campaign.n_kills["consumer"] < 50:
        campaign.kill_consumer()
    results = campaign.finish()
    assert len(results["segments"]) == 1


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_no_epoch_is_lost_or_doubled_in_100_kills_of_the_trainer(
    trainers: Trainers, tmp_path: Path, write_config: Write, seed: int
) -> None:
    campaign = Campaign(trainers, tmp_path / "run", write_config(), seed)
    while campaign.n_kills["trainer"] < 25:
        campaign.kill_trainer()
    results = campaign.finish()
    assert len(results["segments"]) == 26


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_no_epoch_is_lost_or_doubled_in_150_mixed_kills(
    trainers: Trainers, tmp_path: Path, write_config: Write, seed: int
) -> None:
    campaign = Campaign(trainers, tmp_path / "run", write_config(), seed)
    while sum(campaign.n_kills.values()) < 50:
        if campaign.dice.random() < 0.5:
            campaign.kill_trainer()
        else:
            campaign.kill_consumer()
    campaign.finish()
