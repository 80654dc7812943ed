from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from monitord.command import main
from tests.conftest import ROOT, start
from tests.monitord_trees import (
    command,
    ended_run,
    wait_for,
    write_results,
    write_sweep,
)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path)


def listed(*arguments: object) -> list[dict[str, Any]]:
    status, out, err = command(*arguments, "--json")
    assert status == 0, err

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not strict JSON")

    return [json.loads(line, parse_constant=refuse) for line in out.splitlines()]


def test_json_is_strict_one_object_a_line_even_if_the_file_holds_nan(sweep: Path) -> None:
    (sweep / "odd").mkdir()
    text = '{"training_history": [{"epoch": 1, "test": {"scaled_loss": NaN}}]}'
    (sweep / "odd" / "results.json").write_text(text)
    found = {row["name"]: row for row in listed(sweep)}
    assert sorted(found) == ["odd", "run_1", "run_10", "run_2"]
    assert found["odd"]["last"]["test.scaled_loss"] is None
    assert found["odd"]["state"] == "diverged"
    assert found["run_10"]["loss_best"] == 8.5
    assert found["run_10"]["n_blobs"] == 3
    assert found["run_10"]["config"]["training"]["learning_rate"] == 0.02


def test_once_prints_every_run_and_ends(sweep: Path) -> None:
    status, out, err = command(sweep, "--once")
    assert (status, err) == (0, "")
    assert "3 runs" in out
    assert all(word in out for word in ("run_1", "run_2", "run_10", "finished", "failed", "8.500"))


def test_filters_compare_configuration_metrics_and_state(sweep: Path) -> None:
    def names(text: str) -> list[str]:
        return [row["name"] for row in listed(sweep, "--filter", text)]

    assert names("lr=0.02") == ["run_2", "run_10"]
    assert names("lr=0.02 test.scaled_loss<9") == ["run_10"]
    assert names("state=failed,finished bs=100 seed!=2") == ["run_1", "run_2", "run_10"]
    assert names("name~_1") == ["run_1", "run_10"]
    assert names("training.learning_rate>=0.1") == ["run_1"]
    assert names("max.test.scaled_loss>49 name=run_1*") == ["run_1", "run_10"]


def test_sorting_is_natural_by_any_name_and_downwards_with_a_minus(sweep: Path) -> None:
    def names(order: str) -> list[str]:
        return [row["name"] for row in listed(sweep, f"--sort={order}")]

    assert names("name") == ["run_1", "run_2", "run_10"]
    assert names("best") == ["run_1", "run_10", "run_2"]
    assert names("-best") == ["run_2", "run_10", "run_1"]
    assert names("lr,-name") == ["run_10", "run_2", "run_1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{}/run_3"], ["run_3: no such experiment", "near matches", "run_2"]),
        (["{}/nothing_*"], ["no run", "nothing_*"]),
        (["{}", "--filter", "tst.scaled_loss<9"], ["did you mean test.scaled_loss?"]),
        (["{}", "--filter", "lr"], ["'lr'", "NAME=VALUE"]),
        (["{}", "--filter", "lr<low"], ["'low' is not a number"]),
        (["{}", "--sort", "bset"], ["sort", "did you mean best?"]),
        (["{}", "--interval", "0"], ["--interval", "'0'", "above zero"]),
        (["{}", "--smooth", "1.5"], ["--smooth", "'1.5'", "[0, 1)"]),
        (["{}", "--output", "x.png"], ["--output", "--static"]),
        (["{}", "--static", "--output", "{}/x.gif"], [".gif", ".png"]),
        (["{}", "--static", "--metric", "test.scaled_los"], ["did you mean test.scaled_loss?"]),
        (["{}", "--overlay", "run_11"], ["'run_11'", "did you mean run_1"]),
        (["{}", "--rules", "{}/no.json"], ["no.json", "cannot read"]),
        (["{}", "--alert", "divrged"], ["'divrged'", "did you mean diverged?"]),
        (["compare", "{}/run_1"], ["at least two"]),
        (["doctor", "{}/none"], ["no such experiment"]),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2_without_a_traceback(
    sweep: Path, arguments: list[str], words: list[str]
) -> None:
    filled = [argument.replace("{}", str(sweep)) for argument in arguments]
    needs_once = not {"--static", "--overlay", "--rules", "--alert"} & set(filled)
    if needs_once and filled[0] not in ("compare", "doctor"):
        filled.append("--once")
    status, out, err = command(*filled)
    if words[0] == "no run":  # a pattern may match later: nothing there is no error
        assert status == 0
        return
    assert status == 2, (out, err)
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("monitord: ")
    for word in words:
        assert word in last, last


def test_a_misspelt_option_gets_one_line_with_the_nearest() -> None:
    status, _, err = command("x", "--onec")
    assert (status, err) == (2, "monitord: unrecognized arguments: --onec; did you mean --once?\n")
    status, _, err = command("x", "--interval", "0")
    assert status == 2 and err.count("\n") == 1 and "not a number of seconds above zero" in err


def test_compare_shows_what_differs_and_how_the_runs_ended(sweep: Path) -> None:
    status, out, _ = command("compare", sweep / "run_1", sweep / "run_2")
    assert status == 0
    assert "training.learning_rate" in out
    assert "batch_size" not in out
    assert "failed" in out
    found = json.loads(command("compare", sweep, "--json")[1])
    assert found["configuration"] == {"training.learning_rate": [0.1, 0.02, 0.02]} or (
        sorted(found["configuration"]["training.learning_rate"]) == [0.02, 0.02, 0.1]
    )
    for order in (["run_2", "run_1"], ["run_1", "run_2"]):
        found = json.loads(command("compare", *(sweep / name for name in order), "--json")[1])
        assert found["runs"] == order, "as they were given"
        assert [each["name"] for each in found["outcome"]] == order
        assert all(isinstance(each["loss_last"], float) for each in found["outcome"])


def test_a_delivery_without_an_alert_is_refused(sweep: Path) -> None:
    status, _, err = command(sweep, "--alert-command", "true")
    assert status == 2
    assert "name one, such as --alert failed" in err and err.count("\n") == 1


def test_a_picture_of_a_run_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "results.json").write_text("[]")
    status, _, err = command(tmp_path / "bad", "--static")
    assert status == 2 and err.startswith(f"monitord: {tmp_path}/bad: results.json: ")
    assert not (tmp_path / "bad" / "training_metrics.png").exists()
    ended_run(tmp_path, "good", 0.1, 5.0)
    status, out, err = command(tmp_path, "--static", "--output", tmp_path / "all.png")
    assert (status, out) == (0, f"wrote {tmp_path}/all.png\n")
    assert err.startswith(f"monitord: left out: {tmp_path}/bad: results.json: ")


def test_one_monitor_per_root_and_once_works_beside_it(sweep: Path) -> None:
    process = start("monitord", sweep, "--no-plots", cwd=ROOT)
    try:
        wait_for((sweep / ".blobwatch" / "monitor-status.json").exists, "the first monitor")
        status, _, err = command(sweep, "--no-plots")
        assert status == 2
        assert f"another monitord is at work here (process {process.pid})" in err
        assert "--once" in err
        assert command(sweep, "--once")[0] == 0
    finally:
        process.terminate()
        process.communicate()


def test_a_monitor_that_was_killed_leaves_no_obstacle(sweep: Path) -> None:
    for _ in range(2):
        process = start("monitord", sweep, "--no-plots", cwd=ROOT)
        assert process.stdout is not None
        assert "run_" in process.stdout.readline()
        process.kill()
        process.communicate()


def test_without_a_terminal_plain_lines_tell_each_epoch_and_state(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", 1, status="running", epochs=5)
    process = start("monitord", tmp_path, "--no-plots", cwd=ROOT)
    assert process.stdout is not None
    assert "a running epoch=1/5 loss=100.0 best=100.0" in process.stdout.readline()
    write_results(folder, 2, status="running", epochs=5)
    assert "a running epoch=2/5 loss=50.00" in process.stdout.readline()
    write_results(folder, 2, status="failed", status_reason="out of\nmemory \x1b[31m", epochs=5)
    line = process.stdout.readline()
    assert "a failed" in line
    assert "out of?memory ?[31m" in line
    process.terminate()
    process.communicate()


def test_the_log_is_rotated_by_size(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "m.log"
    folder = write_results(root / "a", 1)
    options = ["--no-plots", "--log-file", log, "--log-size", "0.0001"]
    process = start("monitord", root, *options, "--alert", "epoch>0", "--alert", "epoch>1",
                    "--alert", "epoch>2", cwd=ROOT)  # fmt: skip
    try:
        for n_epochs in (2, 3):
            write_results(folder, n_epochs)
            time.sleep(0.05)
        wait_for((tmp_path / "m.log.1").exists, "the rotation")
    finally:
        process.terminate()
        process.communicate()


def test_the_systemd_unit_of_the_documents_is_accepted_by_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    text = (ROOT / "docs" / "monitord.md").read_text()
    unit = tmp_path / "monitord.service"
    unit.write_text(text.partition("```ini\n")[2].partition("```")[0])
    program = tmp_path / "venv" / "bin" / "monitord"
    program.parent.mkdir(parents=True)
    program.symlink_to(sys.executable)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)], capture_output=True, text=True,
        env=os.environ | {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_help_and_import_load_nothing_heavy() -> None:
    script = """
import sys
import monitord
from monitord.command import main
try:
    main(["--help"])
except SystemExit:
    pass
heavy = {"numpy", "rich", "watchdog", "matplotlib", "msgspec", "torch", "sklearn", "scipy"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"


def test_the_whole_monitor_imports_no_torch_sklearn_or_scipy() -> None:
    script = """
import sys, pkgutil, importlib, monitord
for module in pkgutil.walk_packages(monitord.__path__, "monitord."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(sorted({"torch", "sklearn", "scipy", "trainer", "profiler"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_main_returns_its_exit_status(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep), "--once"]) == 0
    assert main([str(sweep / "none"), "--once"]) == 2
    assert "no such experiment" in capsys.readouterr().err


def test_a_reader_that_closes_the_pipe_early_causes_no_traceback(sweep: Path) -> None:
    for index in range(200):
        shutil.copytree(sweep / "run_1", sweep / f"copy_{index}")
    line = f"{sys.executable} -W error -m monitord {sweep} --json | head -n 1"
    done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stdout)
    assert done.stderr == ""


def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    write_results(tmp_path / "a", 1)
    process = start("monitord", tmp_path, "--no-plots", cwd=ROOT)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert "Traceback" not in err
