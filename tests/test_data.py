from __future__ import annotations

import pytest
import torch

from trainer import noise
from trainer.config import DataConfig
from trainer.crew import Crew
from trainer.data import SignalSource, distinct_positions

CPU = torch.device("cpu")


def source(d: int = 16, k: int = 2, n: int = 1000, batch: int = 300, **more: float) -> SignalSource:
    config = DataConfig(d=d, sparsity=k, n_train=n, device="cpu", **more)  # type: ignore[arg-type]
    return SignalSource(config, n, batch, "train", CPU)


def test_the_last_batch_takes_what_is_left() -> None:
    made = source(n=1000, batch=300)
    assert [len(made.batch(1, step)) for step in range(made.n_batches)] == [300, 300, 300, 100]


def test_a_batch_depends_on_seed_epoch_and_step_alone() -> None:
    first, second = source(), source()
    for step in range(3):
        second.batch(7, step)
    for epoch, step in ((2, 1), (1, 3), (1, 0)):
        a, b = first.batch(epoch, step), second.batch(epoch, step)
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.active, b.active)
    torch.manual_seed(1)
    assert torch.equal(first.batch(2, 1).inputs, source().batch(2, 1).inputs)


def test_epochs_steps_and_seeds_differ() -> None:
    made = source()
    batches = [made.batch(1, 0).inputs.clone(), made.batch(1, 1).inputs.clone()]
    batches += [made.batch(2, 0).inputs.clone(), source(seed=1).batch(1, 0).inputs.clone()]
    for i, one in enumerate(batches):
        for other in batches[i + 1 :]:
            assert not torch.equal(one, other)


@pytest.mark.parametrize("k", [1, 2, 3, 15, 16, 80])
def test_each_signal_has_exactly_sparsity_distinct_ones(k: int) -> None:
    batch = source(d=max(16, k + 10) if k != 16 else 16, k=k, noise_variance=0.0).batch(1, 0)
    assert torch.equal(batch.inputs.sum(dim=1), torch.full((len(batch),), float(k)))
    assert set(batch.inputs.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(batch.inputs.gather(1, batch.active), torch.ones(len(batch), k))


def test_every_subset_of_positions_is_equally_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = distinct_positions(100_000, 5, 2, generator).sort(dim=1).values
    counts = torch.bincount(rows[:, 0] * 5 + rows[:, 1], minlength=25)
    counts = counts[counts > 0].double()
    assert len(counts) == 10
    chi_square = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 27.9  # the 99.9% quantile with 9 degrees of freedom


def test_the_noise_has_the_configured_variance() -> None:
    made = source(d=500, n=2000, batch=2000, noise_variance=0.02)
    batch = made.batch(1, 0)
    rest = batch.inputs.scatter_add(1, batch.active, -torch.ones(len(batch), 2))
    assert rest.var().item() == pytest.approx(0.02, rel=0.01)
    assert abs(rest.mean().item()) < 0.001


def test_a_batch_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "BLOCK_NUMBERS", 16 * 70)
    alone = source().batch(2, 1)
    config = DataConfig(d=16, n_train=1000, device="cpu")
    with Crew(3) as crew:
        shared = SignalSource(config, 1000, 300, "train", CPU, crew).batch(2, 1)
    assert torch.equal(alone.inputs, shared.inputs)
    assert torch.equal(alone.active, shared.active)


def test_noise_that_is_made_ahead_is_the_same_whatever_is_asked_for_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noise, "BLOCK_NUMBERS", 16 * 30)
    alone = source()
    config = DataConfig(d=16, n_train=1000, device="cpu")
    with Crew(3) as crew:
        ahead = SignalSource(config, 1000, 300, "train", CPU, crew)
        other = SignalSource(config, 700, 300, "validation", CPU, crew)
        before = None
        for epoch, step in [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 2), (1, 1), (1, 2), (5, 3)]:
            made = ahead.batch(epoch, step)
            assert torch.equal(made.inputs, alone.batch(epoch, step).inputs)
            kept = made.inputs.clone()
            for _ in range(step):
                crew.each(lambda member: None)  # the members go on with the next batch
            if step == 1:
                assert len(other.batch(0, 2)) == 100
            assert torch.equal(made.inputs, kept)
            assert before is None or not torch.equal(before[: len(kept)], kept)
            before = kept


def test_no_two_blocks_of_noise_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "BLOCK_NUMBERS", 16 * 10)
    made = source(n=600, batch=300)
    blocks = [made.batch(e, s).inputs.clone().view(-1, 160) for e in (1, 2) for s in (0, 1)]
    firsts = torch.cat(blocks)[:, 5]
    assert len(firsts.unique()) == len(firsts) == 120
