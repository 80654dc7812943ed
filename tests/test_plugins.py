"""Packages of other people: the example, the guide to plug-ins, and what is not installed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, epochs_of, run, strict_json, tiny_config

EXAMPLE = ROOT / "docs" / "examples" / "blobwatch-spectrum"
GUIDE = ROOT / "docs" / "plugins.md"
CHOSEN = {"default": {}, "spectrum": {"k": 3}}
INSTALL = (
    "pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index"
)


def environment(site: Path) -> dict[str, str]:
    paths = [str(site), str(ROOT), os.environ.get("PYTHONPATH", "")]
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PATH": os.pathsep.join(programs),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
    }


def command(line: str, cwd: Path, site: Path) -> str:
    """Run a command of the documents; ``pip install`` goes to ``site``, without a network."""
    if line.startswith("pip install"):
        pytest.importorskip("setuptools", reason="builds the package with what is installed")
        line = f"python -m {INSTALL} --target {site} " + line.removeprefix("pip install")
    if line.startswith("python"):
        line = sys.executable + line.removeprefix("python")
    done = subprocess.run(
        shlex.split(line), cwd=cwd, env=environment(site), capture_output=True, text=True
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def train(folder: Path, diagnostics: Any, env: Mapping[str, str]) -> tuple[dict[str, Any], Path]:
    """Train the tiny configuration in its own process; its results and its folder."""
    config = tiny_config() | {"diagnostics": diagnostics, "output_dir": str(folder / "run")}
    (folder / "config.json").write_text(json.dumps(config))
    status, out, err = run("trainer", "config.json", cwd=folder, env=dict(env))
    assert status == 0, out + err
    return strict_json(folder / "run" / "results.json"), folder / "run"


@pytest.mark.slow
def test_the_example_package_is_installed_tested_and_run(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(EXAMPLE, source)
    command("pip install .", source, site)
    assert "2 passed" in command("python -m pytest -q -p no:cacheprovider", source, site)
    results, folder = train(tmp_path, CHOSEN, environment(site))
    assert epochs_of(results) == [1, 2, 3]
    for entry in results["training_history"]:
        assert "diagnostic_errors" not in entry
        fields = entry["diagnostics"]
        assert len(fields["spectrum_encoder_values"]) == 3
        assert 1 <= fields["spectrum_decoder_participation"] <= 16
        assert {"n_clusters_dbscan", "n_blobs"} <= set(fields)
    assert "spectrum" not in (folder / "run.log").read_text()


def test_what_is_not_installed_is_named_with_the_remedy_and_costs_only_itself(
    tmp_path: Path,
) -> None:
    chosen = CHOSEN | {"blob_structur": {}, "sampled_clusters": {"epz": 0.1}}
    results, folder = train(tmp_path, chosen, {})
    assert results["status"] == "completed"
    for entry in results["training_history"]:
        errors = entry["diagnostic_errors"]
        assert set(errors) == {"spectrum", "blob_structur", "sampled_clusters"}
        assert "diagnostic spectrum is not installed. Install the package" in errors["spectrum"]
        assert "did you mean blob_structure?" in errors["blob_structur"]
        assert "unexpected keyword argument 'epz'" in errors["sampled_clusters"]
        assert entry["diagnostics"]["n_blobs"] >= 1
        assert "blob_born_epoch" in entry["diagnostics"]
    assert (folder / "run.log").read_text().count("diagnostic spectrum cannot run") == 1


def guide() -> tuple[dict[str, str], list[tuple[str, list[str]]]]:
    """The guide's files by name, and its commands, each with the lines that it promises."""
    text = GUIDE.read_text()
    files = dict(re.findall(r"\*\*`([\w.]+)`\*\*\n\n```\w+\n(.*?)```", text, flags=re.DOTALL))
    commands: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append((line.removeprefix("$ "), []))
            else:
                commands[-1][1].append(line)
    return files, commands


def test_every_block_of_the_guide_is_a_file_or_a_command() -> None:
    files, commands = guide()
    assert len(files) + GUIDE.read_text().count("```console") == GUIDE.read_text().count("```") / 2
    assert len(commands) >= 4


@pytest.mark.slow
def test_the_guide_to_plugins_works_as_it_stands(tmp_path: Path) -> None:
    files, commands = guide()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    for line, promised in commands:
        out = command(line, tmp_path, tmp_path / "site")
        for words in promised:
            assert words in out, f"{line}: {words!r} is not in\n{out}"
    folder = tmp_path / "experiments" / "norms"
    history = strict_json(folder / "results.json")["training_history"]
    assert all(entry["diagnostics"]["weight_norms_encoder"] > 0 for entry in history)
    table = (folder / "epochs.tsv").read_text().splitlines()
    assert table == [f"{e['epoch']}\t{e['test']['scaled_loss']:.6g}" for e in history]


def test_what_is_not_installed_is_a_failed_check(tmp_path: Path) -> None:
    status, out, _ = run("diagnostics", "check", "spectrum", cwd=tmp_path)
    assert status == 1
    assert "cannot be loaded" in out
    assert "spectrum: 1 problem" in out


def test_the_list_fits_80_columns_and_has_options_needs_and_origin(tmp_path: Path) -> None:
    status, out, err = run("diagnostics", "list", cwd=tmp_path, env={"COLUMNS": "80"})
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "options  eps=0.1, min_samples=50" in out
    assert "options  min_depth=" in out
    assert re.search(r"^blob_structure +default · blobwatch \d", out, flags=re.MULTILINE)
