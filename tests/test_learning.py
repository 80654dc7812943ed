"""Network, losses, optimizers and loop, in this process."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from diagnostics.contract.events import EpochEnded
from diagnostics.contract.folder import RunFolder
from tests.conftest import tiny_config
from trainer.config import load_config
from trainer.data import SignalSource
from trainer.hooks import Hook, Hooks
from trainer.loop import train
from trainer.losses import logistic, new_loss, scaled_mse
from trainer.model import TwoLayerNet, new_model
from trainer.optimizers import SGLD, new_optimizer
from trainer.run import Run

CPU = torch.device("cpu")


class Never:
    reason = None


class Recorder(Hook):
    def __init__(self) -> None:
        self.events: list[EpochEnded] = []

    def epoch_ended(self, run: Run, event: EpochEnded) -> None:
        self.events.append(event)


def new_run(tmp_path: Path, **training: object) -> Run:
    config = load_config(tiny_config(**training))
    model = new_model(config, CPU)
    return Run(config, RunFolder(tmp_path), "id", 0, CPU, model, new_optimizer(config, model))


def test_the_network_computes_the_published_formula() -> None:
    model = TwoLayerNet(6, 4)
    x = torch.randn(3, 6)
    w1, b1, w2, b2 = (p.detach() for p in model.parameters())
    expected = torch.tanh(x @ w1.T + b1) ** 3 @ w2.T + b2
    torch.testing.assert_close(model(x), expected)


def test_initial_weights_are_scaled_xavier_normal_and_biases_zero() -> None:
    model = TwoLayerNet(400, 300, 0.5, 0.1, generator=torch.Generator().manual_seed(0))
    xavier = math.sqrt(2 / 700)
    assert model.fc1.weight.std().item() == pytest.approx(0.5 * xavier, rel=0.01)
    assert model.fc2.weight.std().item() == pytest.approx(0.1 * xavier, rel=0.01)
    assert not model.fc1.bias.any()
    assert not model.fc2.bias.any()


def test_scaled_mse_is_the_weighted_sum_of_squared_errors() -> None:
    output = torch.randn(5, 8, dtype=torch.float64)
    active = torch.tensor([[0, 3], [1, 2], [7, 0], [4, 5], [6, 1]])
    target = torch.zeros(5, 8, dtype=torch.float64).scatter(1, active, 1.0)
    error = (output - target) ** 2
    on, off = scaled_mse(output, active, 16.0)
    torch.testing.assert_close(on, 16 * (error * target).sum() / 5)
    torch.testing.assert_close(off, (error * (1 - target)).sum() / 5)


def test_logistic_is_a_scaled_log_mean_exp_whose_terms_add_up() -> None:
    output = torch.randn(5, 8, dtype=torch.float64)
    active = torch.tensor([[0, 3], [1, 2], [7, 0], [4, 5], [6, 1]])
    target = torch.zeros(5, 8, dtype=torch.float64).scatter(1, active, 1.0)
    weights = 1 + 15 * target
    exact = 8 * (((output - target) ** 2 * weights).exp().mean(dim=1)).log().mean()
    on, off = logistic(output, active, 16.0)
    torch.testing.assert_close(on + off, exact)
    perfect = torch.zeros(1, 8).scatter(1, active[:1], 1.0)
    assert sum(logistic(perfect, active[:1], 16.0)).item() == pytest.approx(0, abs=1e-5)


def test_sgld_adds_noise_of_variance_two_lr_temperature() -> None:
    weight = torch.nn.Parameter(torch.zeros(1000, 1000))
    optimizer = SGLD([weight], lr=0.01, temperature=2.0)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert weight.mean().item() == pytest.approx(-0.01, abs=1e-3)
    assert weight.var().item() == pytest.approx(2 * 0.01 * 2.0, rel=0.01)


def test_sgld_without_temperature_is_gradient_descent() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = SGLD([weight], lr=0.5)
    weight.grad = torch.tensor([1.0, 2.0, 3.0])
    optimizer.step()
    assert weight.tolist() == [0.5, 0.0, -0.5]


def test_epoch_losses_are_means_over_samples_not_over_batches(tmp_path: Path) -> None:
    run = new_run(tmp_path, epochs=1, learning_rate=1e-30)
    recorder = Recorder()
    train(run, recorder, Never())
    config = run.config
    source = SignalSource(config.data, 400, 400, "train", CPU)
    parts = SignalSource(config.data, 400, 150, "train", CPU)
    assert source.n_batches == 1
    loss, total = new_loss(config.loss), 0.0
    with torch.no_grad():
        for step in range(parts.n_batches):
            batch = parts.batch(1, step)
            total += sum(loss(run.model(batch.inputs), batch.active)).item() * len(batch)
    (event,) = recorder.events
    assert event.train["scaled_loss"] == pytest.approx(total / 400, rel=1e-6)
    assert event.train["scaled_loss"] == pytest.approx(
        event.train["loss_on"] + event.train["loss_off"]
    )


def test_the_optimised_loss_adds_the_penalty_on_weights_not_biases(tmp_path: Path) -> None:
    run = new_run(tmp_path, epochs=1, learning_rate=1e-30, encoder_regularization=0.5)
    run.model.fc1.bias.data.fill_(3.0)
    recorder = Recorder()
    train(run, recorder, Never())
    train_losses = recorder.events[0].train
    penalty = 0.5 * (run.model.fc1.weight**2).sum() + 0.01 * (run.model.fc2.weight**2).sum()
    assert train_losses["loss"] - train_losses["scaled_loss"] == pytest.approx(
        penalty.item(), rel=1e-4
    )


@pytest.mark.parametrize("loss_type", ["scaled_mse", "logistic"])
@pytest.mark.parametrize("optimizer_type", ["adam", "sgld"])
def test_training_lowers_the_loss(tmp_path: Path, loss_type: str, optimizer_type: str) -> None:
    nested = tiny_config(epochs=8, optimizer_type=optimizer_type)
    nested["loss"] |= {"loss_type": loss_type, "lambda_on": 4.0}
    nested["model"] |= {"encoder_initialization_scale": 2.0, "decoder_initialization_scale": 1.0}
    nested["training"] |= {"learning_rate": 0.02 if optimizer_type == "adam" else 0.005}
    config = load_config(nested)
    model = new_model(config, CPU)
    run = Run(config, RunFolder(tmp_path), "id", 0, CPU, model, new_optimizer(config, model))
    recorder = Recorder()
    assert train(run, recorder, Never()).status == "completed"
    losses = [event.test["scaled_loss"] for event in recorder.events]
    assert losses[-1] < 0.9 * losses[0]


def test_a_nonfinite_loss_ends_the_run_as_failed_unless_allowed(tmp_path: Path) -> None:
    run = new_run(tmp_path, learning_rate=1e30, optimizer_type="sgld")
    outcome = train(run, recorder := Recorder(), Never())
    assert outcome.status == "failed"
    assert "loss became" in (outcome.reason or "")
    assert not math.isfinite(recorder.events[-1].train["loss"])
    run = new_run(tmp_path, learning_rate=1e30, optimizer_type="sgld")
    assert train(run, recorder := Recorder(), Never(), allow_nonfinite=True).status == "completed"
    assert len(recorder.events) == 3


def test_a_hook_that_raises_is_named_and_costs_its_neighbours_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Hook):
        def epoch_ended(self, run: Run, event: EpochEnded) -> None:
            raise RuntimeError("no good")

        def batch_ended(self, run: Run) -> None:
            raise RuntimeError("no good either")

    recorder = Recorder()
    outcome = train(new_run(tmp_path), Hooks([Broken(), recorder]), Never())
    assert outcome.status == "completed"
    assert len(recorder.events) == 3
    assert "Broken failed at epoch_ended" in caplog.text
    assert "Broken failed at batch_ended" in caplog.text
