"""Fake epochs, and the check that authors run on their own diagnostics."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from diagnostics import registry
from diagnostics.command import main
from diagnostics.contract.protocol import Epoch, Value
from diagnostics.examination import examine
from diagnostics.testing import CASES, check_diagnostic, fake_epoch
from tests.conftest import ROOT, run


class Good:
    """A diagnostic without fault."""

    name = "good"
    needs = frozenset({"weights"})

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def compute(self, epoch: Epoch) -> dict[str, Any]:
        return {"good_max": self.factor * epoch.snapshot.encoder.max(), "good_time_ms": id(epoch)}


class Greedy(Good):
    def compute(self, epoch: Epoch) -> dict[str, Any]:
        return {"greedy": float(epoch.snapshot.pairs.mean())}


class Careless(Good):
    def compute(self, epoch: Epoch) -> dict[str, Any]:
        epoch.snapshot.encoder.sort()
        return {}


class Random(Good):
    def compute(self, epoch: Epoch) -> dict[str, Any]:
        return {"random_mean": np.random.default_rng().normal()}


class Counting(Good):
    n_calls = itertools.count()

    def compute(self, epoch: Epoch) -> dict[str, Any]:
        return {"counting": next(self.n_calls)}


class Nested(Good):
    def compute(self, epoch: Epoch) -> dict[str, Any]:
        return {"nested": {"a": 1}}


class Odd(Good):
    def compute(self, epoch: Epoch) -> dict[str, Any]:
        return {"odd": 1j}


class Slow(Good):
    def compute(self, epoch: Epoch) -> dict[str, Any]:
        while True:
            pass


class Fragile(Good):
    def compute(self, epoch: Epoch) -> dict[str, Any]:
        if not np.isfinite(epoch.snapshot.encoder).all():
            raise FloatingPointError("not finite")
        return {"n_blobs": 1, "fragile": 1}


def double(epoch: Epoch) -> dict[str, Value]:
    return {"double": 2 * epoch.event.epoch}


def problems(diagnostic: Any) -> Iterator[str]:
    for result in examine(diagnostic, time_limit_s=1.0):
        yield from result.problems


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Greedy, "the snapshot has no pairs"),
        (Careless, "change a copy"),
        (Random, "field random_mean differs when the epoch is replayed"),
        (Counting, "field counting differs when the epoch is replayed (0, then 1)"),
        (Nested, "field nested is a mapping; make each of its entries a field of its own"),
        (Odd, "numbers, texts, None, lists"),
        (Slow, "no answer within its time limit of 1 s; work on less"),
        ("tests.test_check:Gone", "cannot be loaded"),
    ],
)
def test_the_first_case_says_what_is_wrong_and_the_remedy(bad: Any, says: str) -> None:
    first = next(problems(bad))
    assert first.startswith("case normal: ")
    assert says in first


def test_a_good_diagnostic_passes_every_case() -> None:
    check_diagnostic(Good, options={"factor": 2.0})


def test_a_failed_check_names_diagnostic_case_field_and_remedy() -> None:
    with pytest.raises(AssertionError) as caught:
        check_diagnostic(Fragile)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[2].strip() for line in lines] == [
        "case nan",
        "case all_nan",
        "case beside_defaults",
    ]
    assert all(line.startswith("tests.test_check:Fragile: ") for line in lines)
    assert "not finite; catch this case in compute, and return None" in lines[0]
    assert "field n_blobs is given by blob_structure already; begin the names" in lines[2]


def test_what_a_worker_cannot_find_is_refused() -> None:
    class Local(Good):
        pass

    for diagnostic in (Local, Good(), lambda epoch: {}):
        with pytest.raises(ValueError, match="at the top level of an importable module"):
            check_diagnostic(diagnostic)  # type: ignore[arg-type]


def test_the_command_prints_a_line_a_case() -> None:
    name = "tests.test_check:Good"
    status, out, _ = run("diagnostics", "check", name, "--options", '{"factor": 2}', cwd=ROOT)
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [
        [case, "ok"] for case in (*CASES, "beside_defaults")
    ]
    assert lines[-1] == f"{name}: every case passed"


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf"])
def test_a_time_limit_that_is_none_is_refused_by_its_name(
    limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "blob_structure", f"--time-limit={limit}"]) == 2
    assert "--time-limit" in (said := capsys.readouterr().err)
    assert "positive number of seconds" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("kind", CASES)
def test_a_fake_epoch_is_complete_and_read_only(kind: str) -> None:
    epoch = fake_epoch(kind)
    snapshot = epoch.snapshot
    assert snapshot.encoder.shape == snapshot.decoder.shape[::-1]
    n_finite = (np.isfinite(snapshot.encoder) & np.isfinite(snapshot.decoder.T)).sum()
    assert snapshot.density.n_pairs == n_finite
    assert len(snapshot.pairs) == snapshot.n_pairs
    assert epoch.event.train["loss"] > 0
    for array in (snapshot.encoder, snapshot.decoder, snapshot.pairs):
        assert not array.flags.writeable


def test_the_three_fake_blobs_are_three() -> None:
    fields = registry.load("blob_structure").compute(fake_epoch("three_blobs"))
    assert fields["n_blobs"] == 3


def test_a_fake_epoch_has_the_weights_that_are_given() -> None:
    encoder, decoder = np.ones((2, 5)), np.zeros((5, 2))
    epoch = fake_epoch(encoder=encoder, decoder=decoder, parts={"weights"}, epoch=7)
    assert epoch.event.epoch == 7
    np.testing.assert_array_equal(epoch.snapshot.encoder, encoder)
    with pytest.raises(KeyError, match="name it in the diagnostic's needs"):
        _ = epoch.snapshot.pairs
    with pytest.raises(ValueError, match="give both or none"):
        fake_epoch(encoder=encoder)
    with pytest.raises(ValueError, match="there are normal, three_blobs"):
        fake_epoch("norml")


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), "3", None, True])
def test_a_nonsensical_time_limit_costs_only_its_diagnostic(limit: Any) -> None:
    chosen = {"sampled_clusters": {"time_limit_s": limit}, "blob_structure": {}}
    loaded = registry.load_configured({"diagnostics": chosen})
    assert list(loaded.diagnostics) == ["blob_structure"]
    assert "time_limit_s must be a positive number" in loaded.errors["sampled_clusters"]
