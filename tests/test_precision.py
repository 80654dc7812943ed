"""Training with bf16 products and float32 weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import run, strict_json, tiny_config
from trainer.config import create_config, load_config
from trainer.data import SignalSource
from trainer.loop import take_step
from trainer.trial.subject import Subject

CPU = torch.device("cpu")


def test_weights_gradients_and_moments_stay_float32() -> None:
    config = load_config(create_config("quick_3blob", d=64, device="cpu", precision="bf16"))
    subject = Subject(config)
    products: set[torch.dtype] = set()
    subject.run.model.fc2.register_forward_hook(lambda _, __, out: products.add(out.dtype))
    source = SignalSource(config.data, 200, 200, "train", CPU)
    terms = take_step(subject.run, subject.objective, source.batch(1, 0))
    assert products == {torch.bfloat16}
    assert terms.dtype == torch.float64
    states = subject.run.optimizer.state.values()
    kept = [value for state in states for value in state.values()]
    for parameter in subject.run.model.parameters():
        assert parameter.grad is not None
        kept += [parameter, parameter.grad]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


def last_epoch(tmp_path: Path, name: str, seed: int, *arguments: str) -> dict[str, Any]:
    config = tiny_config(epochs=6, batch_size=200)
    config["data"] |= {"d": 48, "n_train": 4000, "n_val": 1000, "seed": seed}
    (tmp_path / f"{name}.json").write_text(json.dumps(config))
    status, _, err = run(
        "trainer", f"{name}.json", "--output-dir", name, "--quiet", *arguments, cwd=tmp_path
    )
    assert status == 0, err
    assert ("no bf16 units" in err) in (False, bool(arguments))
    entry: dict[str, Any] = strict_json(tmp_path / name / "results.json")["training_history"][-1]
    return entry


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_bf16_keeps_the_history_within_two_percent(tmp_path: Path, seed: int) -> None:
    plain = last_epoch(tmp_path, "float32", seed)
    bf16 = last_epoch(tmp_path, "bf16", seed, "--precision", "bf16")
    for part in ("train", "test"):
        assert bf16[part]["scaled_loss"] != plain[part]["scaled_loss"]
        assert bf16[part]["scaled_loss"] == pytest.approx(plain[part]["scaled_loss"], rel=0.02)
