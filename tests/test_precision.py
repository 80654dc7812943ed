"""Training with bf16 products and float32 weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.conftest import run, strict_json, tiny_config
from trainer.config import create_config, load_config
from trainer.data import SignalSource
from trainer.loop import take_step
from trainer.model import new_model
from trainer.objective import has_gram_form, new_objective
from trainer.trial.subject import Subject

CPU = torch.device("cpu")


class Operands(TorchDispatchMode):
    """Collects the types between which matrix products are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.overloadpacket.__name__.rstrip("_") in ("mm", "addmm"):
            self.dtypes.update(operand.dtype for operand in args[-2:])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("plain", [False, True])
def test_products_are_bf16_while_weights_gradients_and_moments_stay_float32(plain: bool) -> None:
    settings = {"d": 64, "device": "cpu", "precision": "bf16", "plain": plain}
    config = load_config(create_config("quick_3blob", hidden_size=16, **settings))
    assert has_gram_form(config) is not plain
    subject = Subject(config)
    source = SignalSource(config.data, 200, 200, "train", CPU)
    with Operands() as operands:
        terms = take_step(subject.run, subject.objective, source.batch(1, 0))
    assert operands.dtypes == {torch.bfloat16}
    assert terms.dtype == torch.float64
    states = subject.run.optimizer.state.values()
    kept = [value for state in states for value in state.values()]
    for parameter in subject.run.model.parameters():
        assert parameter.grad is not None
        kept += [parameter, parameter.grad]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


@pytest.mark.parametrize("scale", [5, 100, 400])
def test_in_bf16_the_gram_form_errs_at_most_a_fifth_more_than_autocast(scale: float) -> None:
    found = {}
    for precision, plain in (("float32", True), ("bf16", True), ("bf16", False)):
        settings = {"precision": precision, "plain": plain, "device": "cpu"}
        config = load_config(create_config("quick_3blob", **settings))
        model = new_model(config, CPU)
        for layer in (model.fc1, model.fc2):
            layer.weight.data.mul_(scale)
        batch = SignalSource(config.data, 4000, 4000, "train", CPU).batch(1, 0)
        total, on, off = new_objective(config)(model, batch)
        total.backward()
        assert model.fc1.weight.grad is not None and model.fc2.weight.grad is not None
        gradients = model.fc1.weight.grad, model.fc2.weight.grad
        found[precision, plain] = torch.stack([on, off]).detach(), gradients
    (losses, exact), (_, autocast), (our_losses, gram) = found.values()
    torch.testing.assert_close(our_losses, losses, rtol=2e-3, atol=0.0)
    for true, theirs, ours in zip(exact, autocast, gram, strict=True):
        assert 0 < (ours - true).norm() < 1.2 * (theirs - true).norm()


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
