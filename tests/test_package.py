"""What ``pip install .`` installs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    for name in filter(None, files):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "experiments/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True, env=clean())
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}


@pytest.mark.slow
def test_every_module_and_preset_is_installed(installed: Path) -> None:
    for package in ("trainer", "diagnostics", "monitord", "profiler"):
        for path in (ROOT / package).rglob("*.py"):
            assert (installed / path.relative_to(ROOT)).is_file(), path
    names = sorted(path.name for path in (installed / "trainer" / "presets").glob("*.json"))
    assert names == ["diagnostic_demo.json", "quick_3blob.json", "reference_3blob.json"]


@pytest.mark.slow
def test_presets_are_found_and_runs_train_outside_of_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    settings = ["epochs=1", "n_train=500", "d=16", "hidden_size=8", "device=cpu"]
    command = [sys.executable, "-m", "trainer", "quick_3blob", "--output-dir", "run"]
    command += [word for setting in settings for word in ("--set", setting)]
    environment = clean() | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "results.json").exists()
    where = [sys.executable, "-c", "import trainer; print(trainer.__file__)"]
    out = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert out.stdout.startswith(str(installed))
