"""Batches that are made while the ones before them are worked on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from trainer.ahead import BatchesAhead
from trainer.config import DataConfig
from trainer.crew import Crew
from trainer.data import SignalSource

CPU = torch.device("cpu")
DATA = DataConfig(d=32, sparsity=2, n_train=250, n_val=10, device="cpu")


def new_source() -> SignalSource:
    return SignalSource(DATA, DATA.n_train, 100, "train", CPU)


@pytest.fixture
def crew() -> Iterator[Crew]:
    with Crew(has_feeder=True) as crew:
        yield crew


@pytest.mark.parametrize(
    "places",
    [
        [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)],
        [(1, 1), (1, 1), (1, 2)],
        [(1, 0), (5, 2), (5, 1), (1, 0)],
    ],
    ids=["in order", "one twice", "jumping about"],
)
def test_they_are_the_batches_of_the_source(crew: Crew, places: list[tuple[int, int]]) -> None:
    ahead, source = BatchesAhead(new_source, crew), new_source()
    for place in places:
        batch, expected = ahead.batch(*place), source.batch(*place)
        assert torch.equal(batch.inputs, expected.inputs)
        assert torch.equal(batch.active, expected.active)


def test_a_batch_stays_as_it_is_while_the_next_one_is_made(crew: Crew) -> None:
    ahead = BatchesAhead(new_source, crew)
    for step in range(3):
        batch = ahead.batch(1, step)
        before = batch.inputs.clone()
        crew.later(lambda: None).result()  # the next one is complete
        assert torch.equal(batch.inputs, before)


def test_the_next_batch_is_made_by_the_other_thread(crew: Crew) -> None:
    makers = []

    class Watched(SignalSource):
        def batch(self, epoch: int, step: int):  # type: ignore[no-untyped-def]
            makers.append((epoch, step, threading.current_thread() is threading.main_thread()))
            return super().batch(epoch, step)

    ahead = BatchesAhead(lambda: Watched(DATA, DATA.n_train, 100, "train", CPU), crew)
    ahead.batch(1, 0)
    ahead.batch(1, 1)
    crew.later(lambda: None).result()
    assert makers == [(1, 0, True), (1, 1, False), (1, 2, False)]


def test_what_goes_wrong_in_the_other_thread_is_raised_with_the_batch(crew: Crew) -> None:
    class Failing(SignalSource):
        def batch(self, epoch: int, step: int):  # type: ignore[no-untyped-def]
            if step:
                raise MemoryError("no room for a batch")
            return super().batch(epoch, step)

    ahead = BatchesAhead(lambda: Failing(DATA, DATA.n_train, 100, "train", CPU), crew)
    ahead.batch(1, 0)
    with pytest.raises(MemoryError, match="no room for a batch"):
        ahead.batch(1, 1)
