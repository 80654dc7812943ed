"""Clocks that jump, zones, and names that would break a shell, a table or a socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

import trainer.places
from diagnostics.contract.results import utc_now
from monitord.states import State
from tests.chaos import Trainers, fire_config
from tests.conftest import epochs_of, run, strict_json, tiny_config
from tests.monitord_trees import again, entry, losses, names, only, write_results
from tests.monitord_trees import look as monitor
from trainer.config import load_config
from trainer.opening import open_new
from trainer.validation import ConfigError

HOSTILE = [
    "a'b\"c `d` $(e) ; f | g & h",
    "line\nbreak\r\ttab",
    "a..b",
    "-rf",
    "*?[x]",
    "emoji \U0001f600 ünïcödé",
    "\u202eright to left",
    "[bold]markup[red]",
    "<script>alert(1)<br>",
    "ü" * 100,
    " ",
    "%s%n{0}",
]


def begin(name: str) -> Path:
    """Open a run of this name under ``experiments/``, as training would; return its folder."""
    opened = open_new(load_config(tiny_config() | {"experiment_name": name}))
    opened.emitter._journal.close()
    os.close(opened.emitter._courier._wake_read)
    os.close(opened.emitter._courier._wake_write)
    opened.close()
    return opened.run.folder.root


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_folder_a_configuration_and_a_row_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = begin(name)
    assert folder.resolve().parent == tmp_path / "experiments"
    assert len(os.fsencode(folder.name)) <= 255
    assert strict_json(folder / "config.json")["experiment_name"] == name
    write_results(folder.resolve(), 3, experiment_name=name)
    found = only(monitor(tmp_path / "experiments"))
    assert found.folder == folder.resolve()
    assert losses(found) == [100.0, 50.0, 100 / 3]


def test_control_a_line_for_the_shell_makes_other_folders_of_most_of_these_names(
    tmp_path: Path,
) -> None:
    wrong = []
    for number, name in enumerate(HOSTILE):
        place = tmp_path / str(number)
        place.mkdir()
        subprocess.run(f"mkdir {name}", shell=True, cwd=place, stderr=subprocess.DEVNULL)
        if os.listdir(place) != [name]:
            wrong.append(name)
    assert len(wrong) > len(HOSTILE) / 2


def test_runs_of_the_same_second_as_in_the_hour_that_comes_twice_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer.places.time, "strftime", lambda *_: "20261025_023000")
    made = [begin("x").name for _ in range(3)]
    assert made == ["x_20261025_023000", "x_20261025_023000_2", "x_20261025_023000_3"]


@pytest.mark.parametrize("zone", ["Pacific/Apia", "America/St_Johns", "Europe/Berlin", "UTC"])
def test_times_are_utc_in_every_zone(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert utc_now().endswith("+00:00")
        shown = time.strptime(utc_now()[:16], "%Y-%m-%dT%H:%M")
        assert abs(time.mktime(shown) - time.mktime(time.gmtime())) <= 120
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_clock_that_is_set_back_or_forward_changes_no_state_of_the_monitor(
    tmp_path: Path,
) -> None:
    entries = [entry(1, at="2026-06-01T00:00:00Z"), entry(2, at="2026-01-01T00:00:00Z")]
    folder = write_results(
        tmp_path / "run", entries, status="running", updated_at="1999-01-01T00:00:00Z"
    )
    for moment in (0, time.time() + 10 * 365 * 86400, 1):
        assert abs(time.time() - moment) > 86400  # what the file's time would be taken for
        os.utime(folder / "results.json", (moment, moment))
        fleet = monitor(tmp_path)
        write_results(folder, [*entries, entry(3)], status="running")
        os.utime(folder / "results.json", (moment + 1, moment + 1))
        again(fleet)
        found = only(fleet)
        assert found.columns.last_epoch() == 3
        assert found.verdict.state in (State.RUNNING, State.STALLED)
    assert names(fleet) == ["run"]


def test_control_a_socket_beside_such_a_run_cannot_be_bound(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with socket.socket(socket.AF_UNIX) as naive, pytest.raises(OSError, match="too long"):
        naive.bind(str(deep / "socket"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_whose_path_is_too_long_for_a_socket_is_complete(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("ü" * 100)
    deep.mkdir(parents=True)
    trainers = Trainers()
    try:
        log = tmp_path / "log"
        config = fire_config(tmp_path / "config.json", epochs=10)
        pid = trainers.start(config, "--output-dir", deep / "run", "--quiet", log=log)
        assert trainers.wait(pid) == 0, log.read_text()
    finally:
        trainers.close()
    results = strict_json(deep / "run" / "results.json")
    assert epochs_of(results) == list(range(1, 11))
    assert all("norm" in found["diagnostics"] for found in results["training_history"])


@pytest.mark.slow
def test_a_real_run_in_another_zone_with_a_hostile_name_is_complete(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny_config(epochs=2) | {"experiment_name": HOSTILE[1]}))
    env = {"TZ": "Asia/Kathmandu"}
    status, _, err = run("trainer", config, "--quiet", cwd=tmp_path, env=env)
    assert (status, err) == (0, "")
    (folder,) = (tmp_path / "experiments").iterdir()
    results = strict_json(folder / "results.json")
    assert epochs_of(results) == [1, 2]
    assert results["started_at"].endswith("+00:00")


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "", "n" * 201, "nul\x00"])
def test_a_name_whose_folder_could_not_be_found_again_is_refused(name: str) -> None:
    """Hidden folders are skipped by the monitor, so no run begins with a dot."""
    with pytest.raises(ConfigError, match="experiment_name"):
        load_config(tiny_config() | {"experiment_name": name})
