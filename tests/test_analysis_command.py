"""The command, and what it prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from diagnostics.analysis.experiment import analyze_experiment
from diagnostics.analysis.table import print_analyses
from diagnostics.command import main
from tests.analysed_runs import make_run, save
from tests.conftest import strict_json


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path)


def test_names_too_long_for_the_terminal_are_numbered_in_the_table_and_whole_below(
    tmp_path: Path,
) -> None:
    found = analyze_experiment(save(tmp_path / "w.pth"), save_metrics=False)
    out = io.StringIO()
    named = [{**found, "source": f"/r/{letter * 40}"} for letter in "ab"]
    print_analyses(named, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert [line[:3] for line in lines[1:3]] == ["[1]", "[2]"]
    assert [line for line in lines if line.startswith(("[1] a", "[2] b"))] == [
        f"[1] {'a' * 40}: 3 blobs",
        f"[2] {'b' * 40}: 3 blobs",
    ]
    assert max(map(len, lines)) <= 80


def test_the_command_prints_a_table_and_analyses_the_good_beside_the_bad(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["analyze", str(run), str(tmp_path / "empty"), str(tmp_path / "none")]) == 2
    out, err = capsys.readouterr()
    assert "mine_20260118_143022" in out
    assert "analysis.md" in out
    assert [line.split(":")[1] for line in err.splitlines()] == [
        " no weights here (no model.pth, no checkpoint.pt)",
        " no such run, neither a path nor in experiments/",
    ]


@pytest.mark.slow
def test_the_analysis_works_in_a_fresh_process_with_warnings_as_errors(run: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "diagnostics", "analyze", str(run), "--epochs"]
    done = subprocess.run([*command, "2,3"], capture_output=True, text=True, cwd=run)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["epoch"] for row in strict_json(run / "decoupling_metrics.json")["trend"]] == [2, 3]
    done = subprocess.run([*command, "9"], capture_output=True, text=True, cwd=run)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_importing_diagnostics_loads_nothing_heavy() -> None:
    code = (
        "import sys, diagnostics, diagnostics.command, diagnostics.builtin.pairs_picture,"
        " diagnostics.builtin.density_archive\n"
        "print([m for m in ('torch', 'matplotlib', 'sklearn', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
