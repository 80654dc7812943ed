"""From the trainer to results.json, whatever dies: real processes, real kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from diagnostics.contract.events import EpochEnded, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import read_journal
from diagnostics.contract.locks import is_held
from tests.conftest import epochs_of, long_epochs_config, run, start, strict_json, wait_for

Write = Callable[..., Path]


def journal_epochs(folder: Path) -> list[int]:
    events = [decode_event(p) for p in read_journal(folder / "events.log").payloads]
    return [event.epoch for event in events if isinstance(event, EpochEnded)]


def consumers(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "diagnostics" in line and str(folder) in line and "attach" in line:
            found.append(process)
    return found


def gone(folder: Path) -> bool:
    return not is_held(RunFolder(folder).consumer_lock)


def without_times(results: dict[str, Any]) -> list[dict[str, Any]]:
    kept = []
    for entry in results["training_history"]:
        diagnostics = {k: v for k, v in entry["diagnostics"].items() if "time" not in k}
        kept.append({k: entry[k] for k in ("epoch", "train", "test")} | {"d": diagnostics})
    return kept


def test_a_killed_consumer_is_started_again_and_no_epoch_is_lost_or_doubled(
    tmp_path: Path, write_config: Write
) -> None:
    folder = tmp_path / "run"
    config = write_config(epochs=400)
    trainer = start("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)
    dice, kills = random.Random(1), 0
    while trainer.poll() is None and kills < 5:
        time.sleep(dice.uniform(0.1, 0.6))
        for process in consumers(folder):
            process.send_signal(signal.SIGKILL)
            kills += 1
    _, err = trainer.communicate(timeout=120)
    assert trainer.returncode == 0, err
    assert kills > 0
    results = strict_json(folder / "results.json")
    assert epochs_of(results) == list(range(1, 401))
    assert all("diagnostics" in entry for entry in results["training_history"])
    assert results["status"] == "completed"


def test_a_killed_trainer_is_recorded_as_interrupted_and_every_epoch_kept(
    tmp_path: Path, write_config: Write
) -> None:
    folder = tmp_path / "run"
    config = write_config(epochs=10**6)
    trainer = start("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)
    wait_for(lambda: (folder / "results.json").exists())
    trainer.send_signal(signal.SIGKILL)
    trainer.communicate()
    wait_for(lambda: strict_json(folder / "results.json")["status"] == "interrupted")
    wait_for(lambda: gone(folder))
    results = strict_json(folder / "results.json")
    assert "died without a word" in results["status_reason"]
    assert epochs_of(results) == journal_epochs(folder)


@pytest.mark.slow
def test_both_killed_attaching_brings_the_results_up_to_date(
    tmp_path: Path, write_config: Write
) -> None:
    folder = tmp_path / "run"
    config = write_config(epochs=10**6)
    trainer = start("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)
    wait_for(lambda: (folder / "results.json").exists())
    trainer.send_signal(signal.SIGKILL)
    for process in consumers(folder):
        process.send_signal(signal.SIGKILL)
    trainer.communicate()
    wait_for(lambda: gone(folder))
    status, out, err = run("diagnostics", folder, cwd=tmp_path)
    assert status == 0, err
    assert "is up to date" in out
    results = strict_json(folder / "results.json")
    assert epochs_of(results) == journal_epochs(folder)
    assert results["status"] == "interrupted"

    resumed = ("trainer", "--resume", folder, "--set", f"epochs={len(epochs_of(results)) + 2}")
    assert run(*resumed, "--quiet", cwd=tmp_path)[0] == 0
    after = strict_json(folder / "results.json")
    assert epochs_of(after) == list(range(1, len(epochs_of(results)) + 3))
    assert [s["status"] for s in after["segments"]] == ["interrupted", "completed"]


@pytest.fixture
def finished(tmp_path: Path, write_config: Write) -> Path:
    folder = tmp_path / "run"
    command = ("trainer", write_config(), "--output-dir", folder, "--quiet")
    assert run(*command, cwd=tmp_path)[0] == 0
    return folder


def test_missing_or_broken_results_are_rebuilt_from_the_journal(
    finished: Path, tmp_path: Path
) -> None:
    before = strict_json(finished / "results.json")
    (finished / "results.json").unlink()
    assert run("diagnostics", "attach", finished, cwd=tmp_path)[0] == 0
    rebuilt = strict_json(finished / "results.json")
    assert epochs_of(rebuilt) == epochs_of(before)
    assert rebuilt["status"] == "completed"
    for one, other in zip(rebuilt["training_history"], before["training_history"], strict=True):
        assert one["train"] == other["train"]
        assert "snapshot" in one["diagnostic_errors"]["blob_structure"]
    (finished / "results.json").write_text('{"training_history": [1, 2')
    status, _, err = run("diagnostics", finished, cwd=tmp_path)
    assert status == 0
    assert "rebuilt from the journal" in err
    assert epochs_of(strict_json(finished / "results.json")) == [1, 2, 3]
    assert (finished / "results.json.damaged").exists()


def test_applying_a_journal_again_changes_nothing(finished: Path, tmp_path: Path) -> None:
    before = (finished / "results.json").read_bytes()
    status, out, _ = run("diagnostics", finished, cwd=tmp_path)
    assert status == 0
    assert "(0 epochs added)" in out
    assert (finished / "results.json").read_bytes() == before


def test_a_moved_run_is_read_where_it_is_now(finished: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(finished, moved)
    (moved / "results.json").unlink()
    assert run("diagnostics", moved, cwd=tmp_path)[0] == 0
    assert epochs_of(strict_json(moved / "results.json")) == [1, 2, 3]


@pytest.mark.slow
def test_snapshots_of_a_dead_trainer_are_analysed_later_with_the_same_result(
    tmp_path: Path, write_config: Write
) -> None:
    """A stopped consumer leaves snapshots behind; a later one gives what a live one would have."""
    live, late = tmp_path / "live", tmp_path / "late"
    config = write_config(epochs=30)
    assert run("trainer", config, "--output-dir", live, "--quiet", cwd=tmp_path)[0] == 0
    trainer = start("trainer", config, "--output-dir", late, "--quiet", cwd=tmp_path)
    (consumer,) = wait_for(lambda: consumers(late))
    consumer.suspend()
    wait_for(lambda: journal_epochs(late)[-1:] == [30])
    time.sleep(0.5)
    trainer.kill()
    trainer.communicate()
    consumer.kill()
    wait_for(lambda: gone(late))
    assert run("diagnostics", late, cwd=tmp_path)[0] == 0
    assert without_times(strict_json(late / "results.json")) == without_times(
        strict_json(live / "results.json")
    )


@pytest.mark.slow
def test_training_goes_on_while_the_consumer_is_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = tmp_path / "config.json"
    config.write_text(json.dumps(long_epochs_config()))
    trainer = start("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)
    try:
        wait_for(lambda: (folder / "results.json").exists())
        (consumer,) = consumers(folder)
        consumer.suspend()
        stopped_at = len(journal_epochs(folder))
        wait_for(lambda: len(journal_epochs(folder)) > stopped_at + 20)
        consumer.resume()
        target = len(journal_epochs(folder))
        wait_for(lambda: len(epochs_of(strict_json(folder / "results.json"))) > target)
    finally:
        trainer.send_signal(signal.SIGTERM)
        trainer.communicate(timeout=60)
    assert epochs_of(strict_json(folder / "results.json")) == journal_epochs(folder)


def test_a_second_consumer_is_refused(tmp_path: Path, write_config: Write) -> None:
    folder = tmp_path / "run"
    config = write_config(epochs=10**6)
    trainer = start("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)
    try:
        wait_for(lambda: (folder / "results.json").exists())
        status, _, err = run("diagnostics", folder, cwd=tmp_path)
        assert status == 3
        assert "a diagnostics process is at work here" in err
    finally:
        trainer.kill()
        trainer.communicate()
        wait_for(lambda: gone(folder))


def test_no_process_is_left_after_the_trainer_is_killed(
    tmp_path: Path, write_config: Write
) -> None:
    folder = tmp_path / "run"
    config = write_config(epochs=10**6)
    trainer = start("trainer", config, "--output-dir", folder, "--quiet", cwd=tmp_path)
    wait_for(lambda: (folder / "results.json").exists())
    family = [p for c in consumers(folder) for p in (c, *c.children(recursive=True))]
    assert len(family) == 2  # the consumer and its worker
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.communicate()
    wait_for(lambda: not any(process.is_running() for process in family), timeout_s=30)


@pytest.mark.parametrize(
    ("argument", "says"),
    [("nowhere", "nowhere: no run here"), ("--nonsense", "unrecognized arguments")],
)
def test_bad_input_gets_one_clear_line(tmp_path: Path, argument: str, says: str) -> None:
    status, _, err = run("diagnostics", "attach", argument, cwd=tmp_path)
    assert status == 2
    assert "Traceback" not in err
    assert says in err or argument == "--nonsense"


def test_epochs_whose_weights_are_gone_are_counted(finished: Path, tmp_path: Path) -> None:
    n_epochs = len(epochs_of(strict_json(finished / "results.json")))
    (finished / "results.json").unlink()
    status, out, err = run("diagnostics", finished, cwd=tmp_path)
    assert status == 0
    assert f"({n_epochs} epochs added)" in out
    assert f"{n_epochs} of them without diagnostics: their weights went" in err


def test_a_diagnostic_that_never_ran_is_told_at_the_end(
    tmp_path: Path, write_config: Write
) -> None:
    config = write_config()
    chosen = {"diagnostics": ["blob_structure", "blob_structur"]}
    config.write_text(json.dumps(json.loads(config.read_text()) | chosen))
    status, out, _ = run("trainer", config, "--output-dir", tmp_path / "run", cwd=tmp_path)
    assert status == 0
    line = next(line for line in out.splitlines() if line.startswith("diagnostic "))
    assert "blob_structur failed at" in line and "did you mean blob_structure" in line
