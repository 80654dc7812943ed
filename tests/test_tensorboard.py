"""Event files: what is in them, replays, and the reason where the package is missing."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diagnostics.builtin.tensorboard import INSTALL, log_folder, scalars, whole_records
from diagnostics.consumer.host import Host
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.protocol import Epoch, Value
from diagnostics.contract.snapshot import take_parts
from diagnostics.testing import check_diagnostic, fake_epoch, fake_event, fake_weights
from tests.conftest import epochs_of, run, strict_json, tiny_config

HERE = "tests.test_tensorboard"
is_installed = importlib.util.find_spec("tensorboard") is not None
needs_package = pytest.mark.skipif(
    not is_installed, reason=f"the optional package tensorboard is not installed: {INSTALL}"
)


class Early:
    name = "early"
    needs = frozenset({"weights"})

    def compute(self, epoch: Epoch) -> dict[str, Value]:
        return {"early": epoch.event.epoch, "list": [1.5, 2.5], "bad": math.nan, "seen": "text"}


class Last:
    name = "last"
    needs = frozenset[str]()
    runs_last = True

    def compute(self, epoch: Epoch) -> dict[str, Value]:
        return {"saw": sorted(epoch.fields)}


class Meddling(Early):
    def compute(self, epoch: Epoch) -> dict[str, Value]:
        epoch.fields["early"] = 0  # type: ignore[index]
        return {}


class Dying(Early):
    def compute(self, epoch: Epoch) -> dict[str, Value]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Any]:
    made: list[Host] = []

    def make(*names: str) -> Host:
        chosen = {name if name.islower() else f"{HERE}:{name}": {} for name in names}
        (tmp_path / "config.json").write_text(json.dumps({"diagnostics": chosen}))
        made.append(Host(RunFolder(tmp_path)))
        return made[-1]

    yield make
    for host in made:
        host.close()


def compute(host: Host, number: int) -> tuple[dict[str, Any], dict[str, str]]:
    header, frames = take_parts(*fake_weights("normal"), {"weights"}, n_samples=5, seed=0)
    return host.compute(fake_event(number), header, frames, {}, last=False)


def written(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """What TensorBoard's own reader finds: step, and tag to number."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            if event.HasField("summary"):
                numbers = {value.tag: value.simple_value for value in event.summary.value}
                found.append((event.step, numbers))
    return sorted(found, key=lambda item: item[0])


def test_a_diagnostic_that_runs_last_sees_the_fields_of_all_others(hosts: Any) -> None:
    fields, errors = compute(hosts("Last", "Early"), 1)
    assert errors == {}
    assert fields["saw"] == ["bad", "early", "list", "seen"]


def test_fields_survive_a_worker_that_died_in_between(hosts: Any) -> None:
    fields, errors = compute(hosts("Last", "Early", "Dying"), 1)
    assert list(errors) == [f"{HERE}:Dying"]
    assert fields["saw"] == ["bad", "early", "list", "seen"]


def test_nobody_changes_the_fields_of_another(hosts: Any) -> None:
    fields, errors = compute(hosts("Early", "Meddling"), 1)
    assert fields["early"] == 1
    assert "does not support item assignment" in errors[f"{HERE}:Meddling"]


def test_every_number_of_an_epoch_has_a_tag() -> None:
    fields = {"n": 3, "flag": True, "none": None, "text": "no", "ll": [[1, 2], [3, None]]}
    epoch = fake_epoch(epoch=2, fields=fields | {"much": list(range(1000))})
    found = dict(scalars(epoch))
    assert found["train/loss"] == epoch.event.train["loss"]
    assert found["timing/train_seconds"] == 1.0
    diagnostics = {tag: number for tag, number in found.items() if tag.startswith("diagnostics")}
    assert diagnostics == {
        "diagnostics/n": 3,
        "diagnostics/flag": 1,
        "diagnostics/ll/0/0": 1,
        "diagnostics/ll/0/1": 2,
        "diagnostics/ll/1/0": 3,
    }


def test_a_record_that_a_crash_cut_short_is_left_out() -> None:
    record = (3).to_bytes(8, "little") + b"crc-" + b"abc" + b"crc-"
    assert list(whole_records(record + record)) == [b"abc", b"abc"]
    for cut in range(1, len(record) + 1):
        assert list(whole_records((record + record)[:-cut])) == [b"abc"]
    assert list(whole_records(b"")) == []


@needs_package
def test_an_epoch_is_written_once_whoever_replays_it(hosts: Any, tmp_path: Path) -> None:
    first = hosts("tensorboard", "Early")
    for number in (1, 2, 2):
        _, errors = compute(first, number)
        assert errors == {}
    (path,) = log_folder(tmp_path, None).iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    again = hosts("tensorboard", "Early")
    for number in (1, 2, 3):
        compute(again, number)
    found = written(log_folder(tmp_path, None))
    assert [step for step, _ in found] == [1, 2, 3]
    for step, numbers in found:
        assert numbers["diagnostics/early"] == step
        assert numbers["diagnostics/list/1"] == 2.5
        assert math.isnan(numbers["diagnostics/bad"])
        assert numbers["test/scaled_loss"] == pytest.approx(2.0 / step)


@needs_package
def test_the_built_in_passes_the_check_for_authors() -> None:
    check_diagnostic("tensorboard")


@needs_package
def test_a_real_run_has_its_losses_and_blobs_in_tensorboard(tmp_path: Path) -> None:
    config = tiny_config() | {"diagnostics": ["tensorboard", "blob_structure"]}
    (tmp_path / "config.json").write_text(json.dumps(config | {"output_dir": "run"}))
    status, _, err = run("trainer", "config.json", cwd=tmp_path)
    assert status == 0, err
    results = strict_json(tmp_path / "run" / "results.json")
    assert epochs_of(results) == [1, 2, 3]
    found = written(log_folder(tmp_path / "run", None))
    for (step, numbers), entry in zip(found, results["training_history"], strict=True):
        assert step == entry["epoch"]
        assert numbers["diagnostics/n_blobs"] == entry["diagnostics"]["n_blobs"]
        assert numbers["train/loss"] == pytest.approx(entry["train"]["loss"])


@pytest.mark.skipif(is_installed, reason="the package tensorboard is installed")
def test_without_the_package_the_reason_is_how_to_install_it(hosts: Any) -> None:
    fields, errors = compute(hosts("tensorboard", "Early"), 1)
    assert fields["early"] == 1
    assert INSTALL in errors["tensorboard"]
