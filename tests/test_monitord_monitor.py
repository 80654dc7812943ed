from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from diagnostics.contract.errors import UnknownNameError
from monitord import TrainingMonitor
from monitord.states import State
from tests.monitord_trees import entry, wait_for, write_results

ROOT = Path(__file__).parent.parent


def test_the_monitor_gives_series_state_and_new_epochs(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 3, status="running")
    monitor = TrainingMonitor(folder)
    assert monitor.state is State.RUNNING
    assert monitor.series("test.scaled_loss").tolist() == [100.0, 50.0, 100 / 3]
    assert monitor.epochs.tolist() == [1.0, 2.0, 3.0]
    assert monitor.refresh() is False
    write_results(folder, 4, status="completed")
    assert monitor.refresh() is True
    assert monitor.state is State.FINISHED
    assert len(monitor.series("train.loss")) == 4
    with pytest.raises(UnknownNameError, match=r"did you mean test\.scaled_loss"):
        monitor.series("test.scaled_los")


def test_a_changed_copy_of_a_series_does_not_change_the_monitor(tmp_path: Path) -> None:
    monitor = TrainingMonitor(write_results(tmp_path / "run", 3))
    monitor.series("test.scaled_loss")[:] = 0
    assert monitor.series("test.scaled_loss")[0] == 100.0


def test_a_pattern_stands_for_the_run_with_the_latest_news(tmp_path: Path) -> None:
    for name, stamp in (("ref_1", 1e9), ("ref_2", 1.2e9), ("other", 1.4e9)):
        folder = write_results(tmp_path / name, 1)
        os.utime(folder / "results.json", (stamp, stamp))
    assert TrainingMonitor(str(tmp_path / "ref_*")).folder.name == "ref_2"


def test_a_missing_run_raises_file_not_found_naming_near_matches(tmp_path: Path) -> None:
    write_results(tmp_path / "reference_3blob_20260118", 1)
    with pytest.raises(FileNotFoundError, match="reference_3blob_20260118"):
        TrainingMonitor(tmp_path / "reference_3blob_20260119")
    with pytest.raises(FileNotFoundError, match="no such experiment"):
        TrainingMonitor(tmp_path / "zzz_*")


def test_paths_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(tmp_path / "experiments" / "my_run", 2)
    monkeypatch.chdir(tmp_path)
    assert len(TrainingMonitor("experiments/my_run").epochs) == 2
    assert len(TrainingMonitor("experiments/my_run/results.json").epochs) == 2


def test_a_static_plot_is_written_where_asked(tmp_path: Path) -> None:
    monitor = TrainingMonitor(write_results(tmp_path / "run", 5))
    assert monitor.generate_static_plot(tmp_path / "plot.png") == tmp_path / "plot.png"
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert monitor.generate_static_plot() == tmp_path / "run" / "training_metrics.png"


def test_without_a_display_the_picture_is_kept_current_until_the_run_ends_and_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    folder = write_results(tmp_path / "run", 2, status="running")
    picture = folder / "training_metrics.png"

    def train() -> None:
        wait_for(picture.exists, "the first picture")
        write_results(folder, 9, status="completed")

    trainer = threading.Thread(target=train)
    trainer.start()
    TrainingMonitor(folder).start_live_plot(refresh_interval=0.05)
    trainer.join()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert "no display" in lines[0]
    assert str(picture) in lines[0]


def test_waiting_for_the_first_epoch_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TimeoutError, match="no epoch within"):
        TrainingMonitor(tmp_path / "empty").start_live_plot(max_wait=0.1)
    monitor = TrainingMonitor(tmp_path / "empty")
    with pytest.raises(ValueError, match="refresh_interval"):
        monitor.start_live_plot(refresh_interval=0)


def test_the_notebook_view_escapes_every_text(tmp_path: Path) -> None:
    folder = tmp_path / "<script>alert(1)<"
    write_results(folder, [entry(1)], status="failed", status_reason="<b>&\"'")
    html = TrainingMonitor(folder)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;&amp;" in html


def test_an_empty_folder_is_a_run_that_waits(tmp_path: Path) -> None:
    monitor = TrainingMonitor(tmp_path)
    assert monitor.state is State.WAITING
    assert monitor.epochs.shape == (0,)
    assert np.isnan(monitor.run_series().get("x")).all()
    write_results(tmp_path / "run", 2)
    assert monitor.refresh()
    assert monitor.folder == tmp_path / "run"


def test_live_without_a_display_ends_with_the_run_from_the_command_line(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 2, status="completed")
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "monitord", str(folder), "--live"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (folder / "training_metrics.png").exists()
