"""Pictures that `monitord` makes on request and while it watches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitord.finding.roots import parse_roots
from monitord.pictures import Pictures
from monitord.reading.runs import Run
from tests.conftest import ROOT, start
from tests.monitord_trees import (
    command,
    look,
    wait_for,
    write_results,
    write_sweep,
)


def test_a_static_picture_of_one_run_lands_in_its_folder(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path)
    status, out, err = command(sweep / "run_1", "--static")
    assert status == 0, err
    picture = sweep / "run_1" / "training_metrics.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in out


def test_overlays_and_metrics_are_drawn_into_the_file_asked_for(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path)
    for name, magic in (("o.svg", b"<?xml"), ("o.pdf", b"%PDF")):
        output = sweep / name
        arguments = ["--overlay", "run_1", "run_2", "--log-y", "--smooth", "0.6"]
        done = command(sweep, *arguments, "--metric", "train.loss", "--output", output)
        assert done[0] == 0, done[2]
        assert output.read_bytes().startswith(magic)


def test_sigterm_ends_it_with_pictures_under_way_and_no_temporary_file_left(
    tmp_path: Path,
) -> None:
    for index in range(12):
        write_results(tmp_path / f"run_{index}", 300)
    process = start("monitord", tmp_path, cwd=ROOT)
    wait_for(lambda: list(tmp_path.glob("*/training_metrics.png")), "the first picture")
    process.terminate()
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    left = [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    assert left == []
    assert not (tmp_path / ".blobwatch" / "monitor-status.json").exists()


def test_pictures_and_overview_are_made_and_renewed_as_epochs_land(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", 3)
    write_results(tmp_path / "b", 3)
    process = start("monitord", tmp_path, cwd=ROOT)
    try:
        pictures = [folder / "training_metrics.png", tmp_path / "overview.png"]
        wait_for(lambda: all(picture.exists() for picture in pictures), "the pictures")
        before = [picture.read_bytes() for picture in pictures]
        write_results(folder, 9)
        for picture, old in zip(pictures, before, strict=True):
            wait_for(lambda p=picture, o=old: p.read_bytes() != o, f"a new {picture.name}")
    finally:
        process.terminate()
        process.communicate()


def test_pictures_that_could_not_be_written_are_tried_again_and_the_trouble_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_results(tmp_path / "a", 3)
    obstacle = folder / "training_metrics.png"
    obstacle.mkdir()
    (obstacle / "in_the_way").touch()
    monkeypatch.setattr("monitord.pictures.RETRY_AFTER_S", 0.2)
    pictures = Pictures(parse_roots([tmp_path]))
    fleet = look(tmp_path)
    try:

        def told(*changed: Run) -> str | None:
            pictures.follow(fleet, changed, time.monotonic())
            return pictures.trouble

        wait_for(lambda: "training_metrics.png" in (told() or ""), "the trouble")
        shutil.rmtree(obstacle)
        wait_for(lambda: told() is None and obstacle.is_file(), "the picture, without new data")
    finally:
        pictures.close()


def test_a_missing_overview_is_drawn_at_the_start_though_each_run_has_its_picture(
    tmp_path: Path,
) -> None:
    write_sweep(tmp_path)
    for name in ("run_1", "run_2", "run_10"):
        (tmp_path / name / "training_metrics.png").touch()
    process = start("monitord", tmp_path, cwd=ROOT)
    try:
        wait_for((tmp_path / "overview.png").exists, "the overview", 60.0)
    finally:
        process.terminate()
        process.communicate()
    for name in ("run_1", "run_2", "run_10"):
        assert not (tmp_path / name / "training_metrics.png").read_bytes()


def test_without_plots_no_picture_is_made(tmp_path: Path) -> None:
    write_results(tmp_path / "a", 3)
    process = start("monitord", tmp_path, "--no-plots", cwd=ROOT)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    process.communicate()
    assert not list(tmp_path.rglob("*.png"))


def test_pictures_of_a_root_that_cannot_be_written_go_to_the_plot_dir(tmp_path: Path) -> None:
    root, plots = tmp_path / "root", tmp_path / "plots"
    write_results(root / "sub" / "a", 3)
    write_results(root / "b", 3)
    mount = "mount --bind {0} {0} && mount -o remount,ro,bind {0}"
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    script = mount.format(root) + '; exec "$@"'
    arguments = [sys.executable, "-W", "error", "-m", "monitord", str(root)]
    try:
        subprocess.run([*unshare, mount.format(root)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no read-only mount in a private namespace here: {error}")
    process = subprocess.Popen(
        [*unshare, script, "sh", *arguments, "--plot-dir", str(plots)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
    )  # fmt: skip
    try:
        wait_for(lambda: len(list(plots.glob("*.png"))) == 3, "the pictures")
    finally:
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert "Traceback" not in err
    assert (plots / "overview.png").exists()
    assert (plots / "b.png").exists()
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["results.json"] * 2
