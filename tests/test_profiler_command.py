"""The command, with real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import psutil
import pytest

from diagnostics.contract import trials
from diagnostics.contract.errors import BlobwatchError
from profiler import (
    BatchProfile,
    analysis,
    efficiency,
    learning,
    measure,
    memory,
    recommendation,
    record,
)
from profiler.api import Profile, profile_batch_sizes
from profiler.backend import project_root
from profiler.settings import Settings
from trainer.config import config_path, create_config, load_config

TINY = {
    "d": 16, "hidden_size": 8, "n_train": 400, "n_val": 50, "batch_size": 100, "device": "cpu",
}  # fmt: skip
FAST = Settings(windows_s=0.2, busy_windows_s=0.2, threads=1, pictures=False)


def command(*arguments, cwd, **options):
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "profiler", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=200, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing.json"], "nothing.json: cannot read"),
        (["quick_3blob", "--batch-sizes", "0"], "0 is below 1"),
        (["quick_3blob", "--batch-sizes", "9", "9"], "9 is given 2 times"),
        (["quick_3blob", "--batch-sizes", "100001"], "more than data.n_train (100000)"),
        (["quick_3blob", "--batch-sizes", "x"], "--batch-sizes x: must be a whole number"),
        (["quick_3blob", "--epochs", "0"], "epochs: got 0; must be a whole number >= 1"),
        (["quick_3blob", "--output", "no/such/folder.md"], "there is no folder"),
        (["quick_3blob", "--output", "x.json"], "the report is Markdown"),
        (["quick_3blob", "--to-loss", "nan"], "--to-loss nan: must be a number above 0"),
        (["quick_3blob", "--memory-budget", "-1"], "--memory-budget -1: must be a number above 0"),
        (["quick_3blob", "--device", "tpu"], "data.device"),
    ],
)
def test_bad_input_gets_one_clear_line_and_status_2(
    arguments, complaint, capsys, tmp_path, monkeypatch
):
    from profiler.command import main

    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["mine.json", "--output", "mine.md"],
        ["quick_3blob", "--output", "r.md", "--write-config", "r.json"],
        ["quick_3blob", "--output", "r.md", "--write-config", "r.md"],
        ["mine.json", "--output", "r.md", "--write-config", "mine.json"],
        ["mine.json", "--output", "r.md", "--write-config", "./here/../mine.json"],
    ],
)
def test_a_report_never_replaces_a_configuration(arguments, tmp_path, monkeypatch, capsys):
    from profiler.command import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "here").mkdir()
    assert main([*arguments, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "choose another" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "mine.json"]
    assert (tmp_path / "mine.json").read_text() == "{}"


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_report_never_replaces_a_configuration_that_was_given_in_python(
    as_path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("x.json").write_text("{}")
    with pytest.raises(BlobwatchError, match=r"x\.json: is both the configuration and"):
        profile_batch_sizes(as_path("x.json"), output_path="x.md")
    assert Path("x.json").read_text() == "{}"


def test_the_name_of_a_preset_is_no_file_that_a_report_could_replace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("quick_3blob")
    made = Profile(config, [100], FAST, "quick_3blob", source="quick_3blob")
    assert made.json_path == Path("quick_3blob.json")
    with pytest.raises(BlobwatchError, match="is both the configuration"):
        Profile(
            config, [100], FAST, config_path("quick_3blob").with_suffix(""), source="quick_3blob"
        )


@pytest.mark.parametrize(
    ("output", "said"),
    [("/proc/report.md", "cannot be written"), ("report.pdf", "the report is Markdown")],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_first_trial(
    output, said, tmp_path, monkeypatch, capsys
):
    from profiler.command import main

    monkeypatch.chdir(tmp_path)
    assert main(["quick_3blob", "--output", output]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_needed_to_profile_from_python_comes_from_the_package_itself():
    import profiler

    assert profiler.__all__ == ["BatchProfile", "Recommendation", "Settings", "profile_batch_sizes"]
    assert profiler.Settings is Settings
    assert profiler.Recommendation.__module__ == "profiler.recommendation"


def fields_of(kind):
    names = getattr(kind, "__struct_fields__", None)
    return names or [field.name for field in fields(kind)]


@pytest.mark.parametrize(
    "kind",
    [
        record.Record, record.TrialRecord, record.Epoch, record.LimitRecord, record.Identity,
        trials.MemoryUsed, trials.PhasesTimed, measure.Window, measure.Speed, measure.Estimate,
        analysis.Analysis, analysis.TargetTime, analysis.NoiseAt, analysis.EqualSteps,
        learning.Target, efficiency.StepsFit, efficiency.TimeFit, efficiency.NoiseScale,
        memory.MemoryModel, recommendation.Recommendation, recommendation.Choice, BatchProfile,
        Settings,
    ],
)  # fmt: skip
def test_every_field_of_the_json_and_of_the_settings_is_named_in_the_documentation(kind):
    text = (Path(__file__).parent.parent / "docs/profiler.md").read_text()
    assert [name for name in fields_of(kind) if f"`{name}`" not in text] == []


def test_an_unknown_key_is_named_with_the_nearest_one(tmp_path, capsys):
    from profiler.command import main

    path = tmp_path / "bad.json"
    path.write_text('{"training": {"batch_sze": 3}}')
    assert main([str(path)]) == 2
    assert "did you mean batch_size?" in capsys.readouterr().err


def test_the_profiler_is_imported_without_torch_and_without_matplotlib():
    code = "import sys, profiler.command, profiler.api\n"
    code += "print({'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root()
    )
    assert done.stdout == "set()\n"


def test_ctrl_c_ends_with_130_and_a_report_and_without_a_process_left(tmp_path):
    # So many epochs that it only ends because it was asked to.
    config = tmp_path / "c.json"
    config.write_text(json.dumps(create_config("quick_3blob", **TINY)))
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    process = subprocess.Popen(
        [sys.executable, "-m", "profiler", str(config), "--epochs", "100000"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in process.stderr:
            if "batch size" in line:
                break
        while not (children := psutil.Process(process.pid).children()):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in output
    assert not any(child.is_running() for child in children)
    assert "Interrupted" in (tmp_path / "batch_profile_d16_h8.md").read_text()


@pytest.mark.slow
def test_the_command_finds_limit_and_target_and_writes_the_configuration(tmp_path):
    config = tmp_path / "c.json"
    config.write_text(json.dumps(create_config("quick_3blob", **{**TINY, "n_train": 4000})))
    arguments = [str(config), "--batch-sizes", "25", "50", "100", "--to-loss", "15.5"]
    arguments += ["--lr-rule", "sqrt", "--find-limit", "--write-config", "optimized.json"]
    done = command(*arguments, "--output", "r.md", "--threads", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    chosen = load_config(tmp_path / "optimized.json")
    record = json.loads((tmp_path / "r.json").read_text())
    assert (
        chosen.training.batch_size == record["analysis"]["recommendation"]["chosen"]["batch_size"]
    )
    assert record["limit"]["largest"] == 4000
    again = command(*arguments, "--output", "r.md", "--threads", "1", "--resume", cwd=tmp_path)
    assert again.returncode == 0
    before = {(t["batch_size"], t["rule"]): t["curve"] for t in record["trials"]}
    after = json.loads((tmp_path / "r.json").read_text())["trials"]
    assert all(before[t["batch_size"], t["rule"]] == t["curve"] for t in after)
