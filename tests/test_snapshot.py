"""Snapshots: what is shipped, what is made of it where it arrives, and whose memory it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from diagnostics.contract.snapshot import Snapshot, take_parts
from trainer.emission.spool import Spool, WeightsCopy

NUMBERS = ("pairs", "density")


def weights(hidden: int = 48, d: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(hidden, d, generator=generator),
        torch.randn(d, hidden, generator=generator),
    )


def copied(encoder: torch.Tensor, decoder: torch.Tensor, epoch: int = 1) -> WeightsCopy:
    return WeightsCopy(encoder, decoder, None, seed=9, epoch=epoch, trace=None)


def test_pairs_and_density_are_the_same_whether_shipped_or_made_of_the_weights() -> None:
    encoder, decoder = (w.numpy() for w in weights())
    shipped = Snapshot(*take_parts(encoder, decoder, NUMBERS, n_samples=100, seed=9))
    header, frames = take_parts(encoder, decoder, ["weights"], n_samples=100, seed=9)
    assert "pairs" not in Snapshot(header, frames)
    made = Snapshot(msgspec.structs.replace(header, derived=NUMBERS), frames)
    assert "pairs" in made and "density" in made
    assert np.array_equal(made.pairs, shipped.pairs) and len(made.pairs) == 100
    assert np.array_equal(made.density.counts, shipped.density.counts)
    assert made.density.correlation == shipped.density.correlation
    assert made.density is made.density  # made once, for all diagnostics of the epoch


def test_small_weights_on_the_host_are_shipped_as_they_are(tmp_path: Path) -> None:
    header, frames = Spool(tmp_path / "s", 100, 1 << 20).put(copied(*weights()), NUMBERS)
    assert [layout.name for layout in header.arrays] == ["encoder", "decoder"]
    snapshot = Snapshot(header, frames)
    assert np.array_equal(snapshot.encoder, weights()[0].numpy())


def test_when_weights_would_crowd_the_spool_their_parts_are_shipped(tmp_path: Path) -> None:
    encoder, decoder = weights(512, 64)
    spool = Spool(tmp_path / "s", 100, 2 * (encoder.nbytes + decoder.nbytes) - 1)
    header, _ = spool.put(copied(encoder, decoder), NUMBERS)
    assert [layout.name for layout in header.arrays] == ["pairs", "density"]


@pytest.mark.parametrize("needs", [NUMBERS, ("weights",)])
def test_a_snapshot_keeps_its_numbers_when_the_copy_is_used_again(
    tmp_path: Path, needs: tuple[str, ...]
) -> None:
    encoder, decoder = weights()
    header, frames = Spool(tmp_path / "s", 100, 1 << 20).put(copied(encoder, decoder), needs)  # type: ignore[arg-type]
    encoder.zero_()
    decoder.zero_()
    snapshot = Snapshot(header, frames)
    assert np.array_equal(snapshot.encoder, weights()[0].numpy())
    assert np.array_equal(snapshot.decoder, weights()[1].numpy())


def test_nothing_is_shipped_when_no_diagnostic_needs_the_weights(tmp_path: Path) -> None:
    header, frames = Spool(tmp_path / "s", 100, 1 << 20).put(copied(*weights()), ())
    assert header.arrays == () and frames == []
