"""Diagnostics that raise, hang, crash or return nonsense, in the real worker process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from diagnostics import registry
from diagnostics.consumer.host import MAX_FAULTS, Host
from diagnostics.contract.errors import UnknownNameError
from diagnostics.contract.events import EpochEnded, Timing
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.protocol import Epoch, Value
from diagnostics.contract.snapshot import SnapshotHeader, take_parts
from tests.conftest import wait_for

HERE = "tests.test_worker"


class Fine:
    name = "fine"
    needs = frozenset({"weights"})

    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        encoder = epoch.snapshot.encoder
        return {"norm": np.float32(np.abs(encoder).sum()), "shape": encoder.shape}


class Raising(Fine):
    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        raise RuntimeError("cannot do that")


class Hanging(Fine):
    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        while True:
            pass


class Crashing(Fine):
    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        os.abort()


class DeadlyToLoad(Fine):
    def __init__(self) -> None:
        os.abort()


class WithChild(Fine):
    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        child = subprocess.Popen(["sleep", "60"])
        (epoch.folder / "child.pid").write_text(str(child.pid))
        child.wait()
        return {}


class Nonsense(Fine):
    def compute(self, epoch: Epoch) -> Any:
        return [1, 2]


class Huge(Fine):
    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        return {"all": list(range(1_000_000))}


class Clashing(Fine):
    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        return {"norm": 0.0}


class Infinite(Fine):
    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        return {"infinite": float("inf")}


def losses_alone(epoch: Epoch) -> Mapping[str, Value]:
    return {"double": 2 * epoch.event.epoch, "before": epoch.previous.get("double")}


def event(number: int = 1) -> EpochEnded:
    timing = Timing(
        train_seconds=1.0,
        test_seconds=0.1,
        emit_seconds=0.001,
        samples_per_second=10.0,
        peak_memory_bytes=1,
    )
    return EpochEnded(at="2026-01-18T14:30:22Z", epoch=number, train={}, test={}, timing=timing)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Any]:
    made: list[Host] = []

    def make(*names: str, limit_s: float = 30.0) -> Host:
        chosen = {f"{HERE}:{name}": {"time_limit_s": limit_s} for name in names}
        (tmp_path / "config.json").write_text(json.dumps({"diagnostics": chosen}))
        made.append(Host(RunFolder(tmp_path)))
        return made[-1]

    yield make
    for host in made:
        host.close()


def compute(
    host: Host, number: int = 1, previous: dict[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    generator = np.random.default_rng(0)
    encoder = generator.normal(size=(4, 6)).astype(np.float32)
    decoder = generator.normal(size=(6, 4)).astype(np.float32)
    header, frames = take_parts(encoder, decoder, {"weights"}, n_samples=5, seed=0)
    return host.compute(event(number), header, frames, previous or {}, last=False)


def test_a_diagnostic_sees_the_weights_and_its_numbers_become_plain(hosts: Any) -> None:
    fields, errors = compute(hosts("Fine"))
    assert errors == {}
    assert fields["shape"] == [4, 6]
    expected = np.abs(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)).sum()
    assert fields["norm"] == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("Raising", "RuntimeError: cannot do that"),
        ("Nonsense", "must return a mapping, got list"),
        ("Huge", "an epoch takes at most"),
        ("Crashing", "the worker process died (status -6)"),
        ("Missing", "cannot be loaded: AttributeError"),
    ],
)
def test_a_bad_diagnostic_costs_only_its_own_fields(hosts: Any, bad: str, says: str) -> None:
    host = hosts(bad, "Fine")
    for number in (1, 2):
        fields, errors = compute(host, number)
        assert "norm" in fields
        assert list(errors) == [f"{HERE}:{bad}"]
        assert says in errors[f"{HERE}:{bad}"]


def test_a_hanging_diagnostic_is_stopped_and_left_out_after_three_times(hosts: Any) -> None:
    host = hosts("Fine", "Hanging", "losses_alone", limit_s=0.3)
    for number in range(1, MAX_FAULTS + 2):
        fields, errors = compute(host, number)
        assert set(fields) == {"norm", "shape", "double", "before"}
        reason = errors[f"{HERE}:Hanging"]
        assert ("time limit of 0.3 s" in reason) == (number <= MAX_FAULTS)
    assert "left out after 3 hangs or crashes" in reason


def test_two_diagnostics_cannot_give_the_same_field(hosts: Any) -> None:
    fields, errors = compute(hosts("Fine", "Clashing"))
    assert fields["norm"] > 0
    assert errors == {f"{HERE}:Clashing": f"field norm is given by {HERE}:Fine already"}


def test_the_epoch_before_is_at_hand(hosts: Any) -> None:
    fields, _ = compute(hosts("losses_alone"), 2, {"double": 2})
    assert fields == {"double": 4, "before": 2}


def test_a_missing_part_is_a_reason_not_a_crash(hosts: Any) -> None:
    host = hosts("Fine", "losses_alone")
    header = SnapshotHeader(dropped="no room")
    fields, errors = host.compute(event(), header, [], {}, last=False)
    assert errors == {f"{HERE}:Fine": "no room"}
    assert fields["double"] == 2


def test_nonfinite_numbers_pass_and_are_named_in_the_results(hosts: Any) -> None:
    from diagnostics.contract.history import epoch_entry

    fields, errors = compute(hosts("Infinite"))
    assert fields == {"infinite": float("inf")}
    entry = epoch_entry(event(), fields, errors)
    assert entry["diagnostics"] == {"infinite": None}
    assert entry["nonfinite"] == {"diagnostics.infinite": "inf"}


def test_an_unknown_diagnostic_names_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean blob_structure"):
        registry.load("blob_structur")


def test_the_default_diagnostics_are_the_guides_and_blob_structure_with_their_records() -> None:
    numbers = ["sampled_clusters", "blob_structure", "density_archive"]
    assert list(registry.wanted({"diagnostics": None, "save_plots": False})) == numbers
    assert list(registry.wanted({"diagnostics": None})) == [*numbers, "pairs_picture"]


def test_default_among_the_names_keeps_the_default_ones_beside_ones_own() -> None:
    every = list(registry.DEFAULT_NAMES)
    assert list(registry.wanted({"diagnostics": ["default", "mine"]})) == [*every, "mine"]
    chosen = {"default": {"time_limit_s": 9}, "blob_structure": {"min_depth": 0.5}}
    found = registry.wanted({"diagnostics": chosen, "save_plots": False})
    assert found["blob_structure"] == {"min_depth": 0.5}
    assert found["density_archive"] == {"time_limit_s": 9}
    assert "pairs_picture" not in found
    assert list(registry.wanted({"diagnostics": ["mine"]})) == ["mine"]


def test_a_diagnostic_that_kills_the_worker_while_loading_is_left_out(hosts: Any) -> None:
    host = hosts("Fine", "DeadlyToLoad", "losses_alone")
    for number in (1, 2):
        fields, errors = compute(host, number)
        assert {"norm", "double"} <= set(fields)
        assert list(errors) == [f"{HERE}:DeadlyToLoad"]
        assert (
            "cannot be loaded: the worker process died (status -6)"
            in errors[f"{HERE}:DeadlyToLoad"]
        )


def test_what_a_diagnostic_starts_ends_with_it(hosts: Any, tmp_path: Path) -> None:
    host = hosts("WithChild", "Fine", limit_s=1.0)
    _, errors = compute(host)
    assert "time limit of 1 s" in errors[f"{HERE}:WithChild"]
    child = int((tmp_path / "child.pid").read_text())
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")


def test_a_worker_killed_between_epochs_costs_nothing(hosts: Any) -> None:
    host = hosts("Fine")
    compute(host, 1)
    host._worker._process.kill()
    host._worker._process.wait()
    fields, errors = compute(host, 2)
    assert "norm" in fields
    assert errors == {}


def test_a_host_can_be_closed_twice(hosts: Any) -> None:
    host = hosts("Fine")
    host.close()
    host.close()


def test_a_worker_that_is_not_needed_after_all_ends_without_a_word(
    hosts: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(6):
        hosts("Fine", "losses_alone").close()
    assert "Traceback" not in capfd.readouterr().err
