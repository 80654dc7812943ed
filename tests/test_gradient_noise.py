import pytest
import torch
from torch import nn

from profiler.efficiency import noise_scale
from trainer.config import load_config
from trainer.data import Batch, SignalSource
from trainer.gradient_noise import gradient_moments, per_sample_squared_norms
from trainer.losses import new_loss
from trainer.model import new_model


def small(**overrides):
    values = {"d": 12, "hidden_size": 7, "n_train": 400, "batch_size": 20, "n_val": 20}
    values |= {"encoder_initialization_scale": 1.0, "decoder_initialization_scale": 1.0}
    config = load_config("quick_3blob", {**values, **overrides})
    model = new_model(config, torch.device("cpu")).double()
    source = SignalSource(config.data, 400, 20, "train", torch.device("cpu"))
    batch = source.batch(1, 0)
    return config, model, new_loss(config.loss), Batch(batch.inputs.double(), batch.active)


@pytest.mark.parametrize("loss_type", ["scaled_mse", "logistic"])
def test_per_sample_norms_equal_those_of_autograd_on_each_sample_alone(loss_type):
    _, model, loss, batch = small(loss_type=loss_type)
    expected = []
    for i in range(len(batch)):
        model.zero_grad()
        on, off = loss(model(batch.inputs[i : i + 1]), batch.active[i : i + 1])
        (on + off).backward()
        expected.append(sum(float(p.grad.square().sum()) for p in model.parameters()))
    found = per_sample_squared_norms(model, loss, batch)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_gradient_left_behind_is_that_of_the_batch():
    _, model, loss, batch = small()
    on, off = loss(model(batch.inputs), batch.active)
    expected = torch.autograd.grad(on + off, list(model.parameters()))
    per_sample_squared_norms(model, loss, batch)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_penalty_is_part_of_the_mean_gradient_and_not_of_the_variance():
    _, model, loss, batch = small()
    plain = gradient_moments(model, loss, batch)
    penalty = 0.3 * model.fc2.weight.square().sum()
    with_penalty = gradient_moments(model, loss, batch, penalty)
    assert with_penalty.trace == pytest.approx(plain.trace, rel=1e-9)
    assert with_penalty.squared_norm != pytest.approx(plain.squared_norm, rel=1e-3)
    assert all(p.grad is None for p in model.parameters())


def test_one_sample_has_no_variance_and_says_so():
    _, model, loss, batch = small()
    with pytest.raises(ValueError, match="two samples"):
        gradient_moments(model, loss, Batch(batch.inputs[:1], batch.active[:1]))


class Linear(nn.Module):
    """Two layers whose gradients are known: out = fc2(fc1(x)), all weights zero."""

    def __init__(self, d):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d, d), nn.Linear(d, d)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs):
        return self.fc2(self.fc1(inputs))


def test_trace_and_norm_are_unbiased_on_a_problem_with_known_covariance():
    # With zero weights and loss <-v_i, out>, only fc2's bias has a gradient: -v_i. So S is the
    # covariance of v and G its mean, both chosen here.
    generator = torch.Generator().manual_seed(1)
    d, n = 5, 8
    mean = torch.tensor([0.5, -0.25, 0.0, 1.0, 0.3], dtype=torch.float64)
    deviations = torch.tensor([1.0, 2.0, 0.5, 1.5, 3.0], dtype=torch.float64)
    model = Linear(d).double()
    moments = []
    for _ in range(1500):
        v = mean + deviations * torch.randn(n, d, generator=generator, dtype=torch.float64)

        def loss(output, active, v=v):
            return -(output * v).sum() / len(output), output.sum() * 0

        batch = Batch(torch.zeros(n, d, dtype=torch.float64), torch.zeros(n, 1, dtype=torch.int64))
        found = gradient_moments(model, loss, batch)
        moments.append((found.n_samples, found.trace, found.squared_norm))
    trace = float(deviations.square().sum())
    norm = float(mean.square().sum())
    assert sum(m[1] for m in moments) / len(moments) == pytest.approx(trace, rel=0.03)
    assert sum(m[2] for m in moments) / len(moments) == pytest.approx(norm, rel=0.1)
    scale = noise_scale(moments)
    assert scale.low < trace / norm < scale.high
    # The mean of quotients, which the definition avoids, is far off.
    quotients = sum(m[1] / m[2] for m in moments) / len(moments)
    assert abs(quotients / (trace / norm) - 1) > abs(scale.value / (trace / norm) - 1)
