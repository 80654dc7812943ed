from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diagnostics.blobs import find_blobs
from diagnostics.builtin.density_archive import DensityArchive
from diagnostics.builtin.pairs_picture import PairsPicture
from diagnostics.command import main
from diagnostics.contract.density import DensityGrid, build_density
from diagnostics.contract.density_archive import (
    ARCHIVE_NAME,
    ArchivedGrid,
    ArchiveWriter,
    read_archive,
)
from diagnostics.contract.errors import BlobwatchError, UnreadableFileError
from diagnostics.contract.events import EpochEnded, Timing
from diagnostics.contract.protocol import Diagnostic, Epoch
from diagnostics.contract.snapshot import Snapshot, take_parts
from diagnostics.draw.movie import make_movie, write_movie

TIMING = Timing(
    train_seconds=1.0, test_seconds=0.1, emit_seconds=0.0, samples_per_second=1.0,
    peak_memory_bytes=1,
)  # fmt: skip


def weights(epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Three blobs that move apart, epoch by epoch."""
    rng = np.random.default_rng(epoch)
    pairs = rng.normal(size=(32 * 256, 2)) * (0.05, 0.005)
    pairs[:200] += epoch * np.array([0.1, 0.01])
    pairs[200:400] -= epoch * np.array([0.1, 0.01])
    encoder, decoder = (pairs[:, k].reshape(32, 256).astype(np.float32) for k in (0, 1))
    return encoder, decoder.T.copy()


def grid(epoch: int) -> DensityGrid:
    return build_density(*weights(epoch))


def epoch_of(folder: Path, number: int, *, trace: int | None = None, last: bool = False) -> Epoch:
    header, frames = take_parts(*weights(number), ["density"], n_samples=1, seed=0)
    event = EpochEnded(
        at="2026-01-18T14:00:00.000+00:00",
        epoch=number,
        trace=trace,
        train={},
        test={},
        timing=TIMING,
    )
    config = {
        "experiment_name": "mine",
        "save_plots": True,
        "data": {"sparsity": 2, "noise_variance": 0.01, "seed": 0},
    }
    return Epoch(
        event=event, snapshot=Snapshot(header, frames), folder=folder, config=config, last=last
    )


def save_checkpoint(folder: Path, epoch: int) -> None:
    encoder, decoder = (torch.from_numpy(array) for array in weights(epoch))
    state = {"fc1.weight": encoder, "fc2.weight": decoder}
    torch.save({"model": state, "position": {"epoch": epoch + 1}}, folder / "checkpoint.pt")


def epochs_in(folder: Path) -> list[int]:
    return [archived.epoch for archived in read_archive(folder)]


def test_archived_grids_come_back_as_they_were(tmp_path: Path) -> None:
    diagnostic = DensityArchive()
    assert isinstance(diagnostic, Diagnostic)
    for number in (1, 2, 3):
        fields = diagnostic.compute(epoch_of(tmp_path, number))
    assert fields["density_archive_epochs"] == 3
    assert fields["density_archive_bytes"] == (tmp_path / ARCHIVE_NAME).stat().st_size
    for archived in read_archive(tmp_path):
        original = grid(archived.epoch)
        np.testing.assert_array_equal(archived.grid.counts, original.counts)
        assert archived.grid.to_parts()[0] == original.to_parts()[0]


def test_a_replay_changes_nothing_and_a_restart_goes_on(tmp_path: Path) -> None:
    first = DensityArchive()
    for number in (1, 2):
        first.compute(epoch_of(tmp_path, number))
    first.close()
    before = (tmp_path / ARCHIVE_NAME).read_bytes()
    second = DensityArchive()
    for number in (1, 2):
        second.compute(epoch_of(tmp_path, number))
    assert (tmp_path / ARCHIVE_NAME).read_bytes() == before
    second.compute(epoch_of(tmp_path, 3))
    after = (tmp_path / ARCHIVE_NAME).read_bytes()
    assert after.startswith(before)
    assert epochs_in(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("n_lost", [1, 7, 2000])
def test_a_torn_record_costs_one_epoch_which_a_replay_restores(tmp_path: Path, n_lost: int) -> None:
    writer = ArchiveWriter(tmp_path)
    for number in (1, 2, 3):
        writer.add(number, grid(number))
    writer.close()
    os.truncate(tmp_path / ARCHIVE_NAME, (tmp_path / ARCHIVE_NAME).stat().st_size - n_lost)
    assert epochs_in(tmp_path) == [1, 2]
    again = ArchiveWriter(tmp_path)
    again.add(3, grid(3))
    assert epochs_in(tmp_path) == [1, 2, 3]


def test_an_archive_that_grows_too_large_is_thinned_out_evenly(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path)
    writer.add(1, grid(1))
    limit = 6 * writer.n_bytes
    writer.close()
    for number in range(2, 33):
        writer = ArchiveWriter(tmp_path, limit)  # restarted at every epoch
        writer.add(number, grid(number), last=number == 32)
        assert writer.n_bytes <= limit
        writer.close()
    kept = epochs_in(tmp_path)
    assert kept[0] == 1
    assert kept[-1] == 32
    assert len(kept) >= 4
    assert len(set(np.diff(kept[:-1]))) == 1


def test_stage_two_is_not_archived(tmp_path: Path) -> None:
    assert DensityArchive().compute(epoch_of(tmp_path, 1, trace=0)) == {}
    assert read_archive(tmp_path) == []


def test_a_damaged_archive_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE_NAME).write_bytes(b"something else entirely")
    with pytest.raises(UnreadableFileError, match=ARCHIVE_NAME):
        read_archive(tmp_path)


def test_a_movie_has_a_frame_for_each_epoch_and_holds_the_last(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path)
    for number in (1, 8, 14):
        writer.add(number, grid(number))
    assert main(["movie", str(tmp_path), "--fps", "5"]) == 0
    with Image.open(tmp_path / "formation.gif") as movie:
        assert movie.n_frames == 3  # type: ignore[attr-defined]
        durations, frames = [], []
        for k in range(3):
            movie.seek(k)
            durations.append(movie.info["duration"])
            frames.append(np.asarray(movie.convert("RGB"), dtype=int))
    assert durations == [200, 200, 2500]
    assert frames[0].shape == (660, 660, 3)
    assert find_blobs(grid(14))["n_blobs"] == 3
    # One window for all: what is paper in the last frame at the outer blobs' place ...
    place = np.abs(frames[2] - frames[0]).sum(axis=2) > 60
    rows, columns = np.nonzero(place[150:600, 80:520])
    assert np.ptp(rows) > 300
    assert np.ptp(columns) > 300


def test_saved_epochs_serve_where_no_grid_was_archived(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    encoder, decoder = weights(3)
    np.savez(
        tmp_path / "checkpoints" / "epoch_0003.npz",
        **{"fc1.weight": encoder, "fc2.weight": decoder},
    )
    output = make_movie(tmp_path, tmp_path / "x.gif")
    with Image.open(output) as movie:
        assert movie.size == (660, 660)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "density_archive"),
        (["--output", "x.avi"], ".gif or an .mp4"),
        (["--fps", "0"], "0.1 to 50"),
        (["--output", "nowhere/x.gif"], "no such folder"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["movie", str(tmp_path), *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


FAKE_FFMPEG = """#!{python}
import sys
data = sys.stdin.buffer.read()
size = sys.argv[sys.argv.index("-s") + 1]
if {fails}:
    sys.exit("no such encoder")
open(sys.argv[-1], "w").write(f"{{size}} {{len(data)}} {{sys.argv[-1].rsplit('.', 1)[1]}}")
"""


@pytest.mark.parametrize("fails", [False, True])
def test_ffmpeg_gets_every_frame_and_its_complaint_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    import sys

    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FAKE_FFMPEG.format(python=sys.executable, fails=fails))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    output = tmp_path / "x.mp4"
    grids = [ArchivedGrid(number, grid(number)) for number in (1, 2)]
    if fails:
        with pytest.raises(BlobwatchError, match="ffmpeg failed: no such encoder"):
            write_movie(grids, output, fps=2)
    else:
        write_movie(grids, output, fps=2)
        # Two epochs, and the last for 2.5 s more.
        assert output.read_text() == f"660x660 {(2 + 5) * 660 * 660 * 3} mp4"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin"] + ["x.mp4"] * (not fails)


def test_without_ffmpeg_an_mp4_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BlobwatchError, match="ffmpeg, which is not installed"):
        make_movie(tmp_path, tmp_path / "x.mp4")


def test_pictures_are_drawn_at_a_bounded_rate_and_all_at_the_end(tmp_path: Path) -> None:
    diagnostic = PairsPicture()
    assert isinstance(diagnostic, Diagnostic)
    took = "pairs_picture_time_ms"
    drawn = [
        number
        for number in range(1, 11)
        if diagnostic.compute(epoch_of(tmp_path, number))[took] is not None
    ]
    assert drawn[0] == 1
    assert len(drawn) < 10  # ten epochs in a second cannot each have a picture at 5 %
    assert [p.name for p in tmp_path.iterdir()] == ["encoder_decoder_pairs.png"]
    save_checkpoint(tmp_path, 11)
    assert diagnostic.compute(epoch_of(tmp_path, 11, last=True))[took] is not None
    assert sorted(p.name for p in tmp_path.glob("*.png")) == [
        "encoder_decoder_pairs.png",
        "encoder_weights_histogram.png",
        "network_outputs_histogram.png",
    ]


def test_without_save_plots_and_in_stage_two_nothing_is_drawn(tmp_path: Path) -> None:
    epoch = epoch_of(tmp_path, 1)
    object.__setattr__(epoch, "config", {"save_plots": False})
    assert PairsPicture().compute(epoch) == {}
    assert PairsPicture().compute(epoch_of(tmp_path, 1, trace=0)) == {}
    assert list(tmp_path.iterdir()) == []


def test_outputs_wait_for_the_last_epochs_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diagnostics.builtin import pairs_picture

    monkeypatch.setattr(pairs_picture, "CHECKPOINT_WAIT_S", 0.3)
    save_checkpoint(tmp_path, 4)
    with pytest.raises(BlobwatchError, match=r"checkpoint\.pt is of epoch 4"):
        PairsPicture().compute(epoch_of(tmp_path, 5, last=True))
    assert (tmp_path / "encoder_weights_histogram.png").is_file()
    # Stage two has moved on: the weights that stage one ended with are in model.pth.
    save_checkpoint(tmp_path, 1)
    (tmp_path / "checkpoint.pt").rename(tmp_path / "model.pth")
    save_checkpoint(tmp_path, 4)
    PairsPicture().compute(epoch_of(tmp_path, 5, last=True))
    assert (tmp_path / "network_outputs_histogram.png").is_file()
