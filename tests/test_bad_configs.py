"""Bad configurations: a message that names the key and status 2, or a run; nothing in between."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trainer.command
from tests.conftest import run, tiny_config
from trainer.config import SECTIONS, ExperimentConfig, create_config
from trainer.run import Outcome

KEYS = [(section, key) for section, kind in SECTIONS.items() for key in kind.__struct_fields__]
KEYS += [("", key) for key in ExperimentConfig.__struct_fields__]
HUGE = st.sampled_from([10**8, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 50),
    HUGE,
    HUGE.map(lambda n: -n),
    st.floats(),
    st.sampled_from([1e-320, 1e308, -0.0, float("nan"), float("inf")]),
    st.text(max_size=12),
    st.sampled_from(
        ["", " ", "a/b", "..", "../x", "\x00", "\ud800", "cpu\n", "cuda:99", "x" * 300]
    ),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(0, 3), max_size=2),
)
MUTATIONS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(KEYS), VALUES),
    st.tuples(st.just("drop"), st.sampled_from(KEYS), st.none()),
    st.tuples(st.just("typo"), st.sampled_from(KEYS), st.integers(0, 30)),
    st.tuples(st.just("add"), st.tuples(st.just(""), st.text(min_size=1, max_size=9)), VALUES),
    st.tuples(st.just("move"), st.sampled_from(KEYS), st.sampled_from(list(SECTIONS))),
)


def mutated(mutations: list[Any]) -> tuple[dict[str, Any], set[str]]:
    """Return a configuration with these faults, and the keys that they concern."""
    config = copy.deepcopy(create_config(tiny_config()))
    config["output_dir"] = "run"
    touched = set()
    for kind, (section, key), value in mutations:
        place = config.get(section, config) if section else config
        if not isinstance(place, dict):
            continue
        touched |= {key, section or key}
        if kind in ("set", "add"):
            place[key] = value
        elif kind == "drop":
            place.pop(key, None)
        elif kind == "typo":
            wrong = key[: value % len(key)] + "_" + key[value % len(key) :]
            touched.add(wrong)
            place[wrong] = place.pop(key, 1)
        else:
            moved = place.pop(key, 1)
            if isinstance(config.get(value), dict):
                config[value][key] = moved
    return config, touched


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The command itself, in this process, up to where training would begin."""

    def train(opened: Any, *rest: Any) -> Outcome:
        assert (opened.run.folder.root / "config.json").stat().st_size > 100
        opened.emitter._journal.close()
        os.close(opened.emitter._courier._wake_read)
        os.close(opened.emitter._courier._wake_write)
        return Outcome("completed")

    monkeypatch.setattr(trainer.command, "_train", train)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.chdir(tmp_path)
    handlers = list(logging.getLogger().handlers)
    level = logging.getLogger().level

    def call(*words: str) -> tuple[int, str]:
        errors = io.StringIO()
        try:
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
                status = trainer.command.main(list(words))
        finally:
            logging.getLogger().handlers[:] = handlers
            logging.getLogger().setLevel(level)
        if status == 0:
            assert os.path.isdir("run") or os.path.isdir("experiments") or os.listdir()
        else:
            left = sorted(set(os.listdir()) - {"c.json"})
            assert left == [], f"a half-made folder: {left}"
        for name in set(os.listdir()) - {"c.json"}:
            shutil.rmtree(name)
        return status, errors.getvalue()

    yield call


def many(n_examples: int) -> settings:
    return settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
def test_4000_mutated_configurations_run_or_are_refused_by_the_name_of_a_key(
    command: Any,
) -> None:
    seen = {0: 0, 2: 0}

    @many(4000)
    @given(st.lists(MUTATIONS, min_size=1, max_size=3))
    def check(mutations: list[Any]) -> None:
        config, touched = mutated(mutations)
        path = config.get("output_dir")
        if isinstance(path, str) and path not in ("run", "") and "/" in path + "/":
            config["output_dir"] = "run" if path.strip("./ x") == "" else path.replace("/", "_")
        Path("c.json").write_text(json.dumps(config), encoding="utf-8", errors="surrogatepass")
        status, said = command("c.json", "--quiet", "--device", "cpu")
        assert status in (0, 2), said
        seen[status] += 1
        if status == 2:
            assert said.strip()
            assert any(key in said or repr(key)[1:-1] in said for key in touched), (said, touched)

    check()
    assert min(seen.values()) > 200, f"the mutations are one-sided: {seen}"


@pytest.mark.slow
def test_1000_damaged_configuration_files_are_refused_or_run(command: Any) -> None:
    whole = json.dumps(create_config(tiny_config()) | {"output_dir": "run"}, indent=1).encode()
    dice = random.Random(2)
    seen = {0: 0, 2: 0}
    for number in range(1000):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(len(data))
            match number % 4:
                case 0:
                    data[place] ^= 1 << dice.randrange(8)
                case 1:
                    del data[place : place + dice.randrange(1, 40)]
                case 2:
                    data[place:place] = dice.randbytes(dice.randrange(1, 8))
                case _:
                    other = dice.randrange(len(data))
                    data[place:place] = data[other : other + dice.randrange(1, 60)]
        if re_too_large(bytes(data)):
            continue
        Path("c.json").write_bytes(data)
        status, said = command("c.json", "--quiet", "--device", "cpu")
        assert status in (0, 2), said
        assert status == 0 or "c.json" in said
        seen[status] += 1
    assert seen[2] > 400


def re_too_large(data: bytes) -> bool:
    """Return whether sizes were made that are possible, but not in a test."""
    with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError, AttributeError):
        config = json.loads(data)
        return int(config["model"]["hidden_size"]) * int(config["data"]["d"]) > 10**7
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"model": 5}',
        '{"training": {"epochs": 1e400}}',
        '{"data": {"seed": ' + "9" * 5000 + "}}",
        "[" * 100_000,
        '{"model": {"hidden_size": 8, "hidden_size": 9}}',
        '{"experiment_name": "\\ud800"}',
        '\ufeff{"epochs": 3}',
    ],
)
def test_a_real_process_refuses_a_bad_file_in_one_line_without_a_trace(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "c.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    status, out, err = run("trainer", "c.json", cwd=tmp_path)
    assert status == 2
    assert "c.json" in err
    assert "Traceback" not in out + err
    assert os.listdir(tmp_path) == ["c.json"]
