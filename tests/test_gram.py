"""The Gram form against the textbook form and against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainer import gram
from trainer.config import create_config, load_config
from trainer.crew import SOLO, Crew
from trainer.data import Batch, SignalSource
from trainer.gram import GramLoss, GramObjective, is_cheaper
from trainer.model import TwoLayerNet, new_model
from trainer.objective import (
    has_gram_form,
    plain_objective,
    step_operations,
)
from trainer.trial.subject import Subject

CPU = torch.device("cpu")


def grads(model: TwoLayerNet) -> list[torch.Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def both(model: TwoLayerNet, batch: Batch, lambda_on: float = 16.0, crew: Crew = SOLO) -> None:
    """Compare values and gradients of both forms in the precision of the model."""
    config = load_config({"loss": {"lambda_on": lambda_on}})
    tolerance = 2e-5 if batch.inputs.dtype == torch.float32 else 1e-11
    results = []
    for objective in (plain_objective(config), GramObjective(lambda_on, crew)):
        model.zero_grad()
        terms = objective(model, batch)
        terms[0].backward()
        results.append(([t.detach() for t in terms], [g.clone() for g in grads(model)]))
    (plain, plain_grads), (ours, our_grads) = results
    for one, other in zip(plain, ours, strict=True):
        assert (one - other).abs() <= tolerance * plain[0]
    for one, other in zip(plain_grads, our_grads, strict=True):
        assert (one - other).abs().max() <= tolerance * one.abs().max()


@pytest.mark.parametrize(
    ("n", "d", "hidden", "k"),
    [(50, 16, 8, 1), (50, 16, 8, 2), (7, 9, 30, 9), (1, 5, 3, 2), (300, 12, 6, 12), (64, 40, 1, 3)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_forms_agree_at_every_corner(
    n: int, d: int, hidden: int, k: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gram, "slice_rows", lambda shape, device, members: max(1, n // 3))
    config = load_config({"data": {"d": d, "sparsity": k, "n_train": n, "device": "cpu"}})
    batch = SignalSource(config.data, n, n, "train", CPU).batch(1, 0)
    model = TwoLayerNet(d, hidden).to(dtype)
    for layer in (model.fc1, model.fc2):
        torch.nn.init.normal_(layer.bias)
    both(model, Batch(batch.inputs.to(dtype), batch.active))


@pytest.mark.parametrize("preset", ["reference_3blob", "quick_3blob", "diagnostic_demo"])
def test_both_forms_agree_on_every_preset(preset: str) -> None:
    config = load_config(create_config(preset, device="cpu", batch_size=3000))
    batch = SignalSource(config.data, 3000, 3000, "train", CPU).batch(1, 0)
    model = new_model(config, CPU)
    model.fc1.weight.data.mul_(10)
    both(model, batch, config.loss.lambda_on)


def test_the_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(5, 6, dtype=torch.float64, generator=generator)
    active = torch.tensor([[0, 3], [1, 2], [5, 0], [4, 5], [3, 1]])
    shapes = ((4, 6), (4,), (6, 4), (6,))
    weights = [torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes]
    for weight in weights:
        weight.requires_grad_()
    objective = GramObjective(5.0)
    assert torch.autograd.gradcheck(
        lambda *w: 3 * GramLoss.apply(objective, inputs, active, *w)[0], weights
    )


def test_batches_of_several_sizes_in_turn_are_worked_through_as_if_each_were_alone() -> None:
    config = load_config({"data": {"d": 12, "n_train": 500, "device": "cpu"}})
    model = TwoLayerNet(12, 5)
    lasting = GramObjective(16.0)
    for size in (300, 90, 300, 500, 1):
        batch = SignalSource(config.data, size, size, "train", CPU).batch(1, 0)
        found = []
        for objective in (lasting, GramObjective(16.0)):
            model.zero_grad()
            terms = objective(model, batch)
            terms[0].backward()
            found.append([*(term.detach() for term in terms), *(g.clone() for g in grads(model))])
        for one, other in zip(*found, strict=True):
            assert torch.equal(one, other)


def test_a_frozen_encoder_gets_no_gradient_and_the_decoder_the_same() -> None:
    model = TwoLayerNet(12, 5)
    config = load_config({"data": {"d": 12, "n_train": 40, "device": "cpu"}})
    batch = SignalSource(config.data, 40, 40, "train", CPU).batch(1, 0)
    model.fc1.requires_grad_(False)
    both(model, batch)
    assert model.fc1.weight.grad is None


def test_the_cheaper_form_is_chosen() -> None:
    assert is_cheaper(10_000, 1024, 512, 2)
    assert is_cheaper(2_000, 256, 64, 2)
    assert not is_cheaper(10_000, 256, 512, 2)  # more hidden units than coordinates
    assert not is_cheaper(100, 1024, 512, 2)  # too few samples to pay for the Gram matrix
    assert not is_cheaper(10_000, 1024, 512, 1000)  # hardly sparse


class Products(TorchDispatchMode):
    """Counts the floating-point operations of matrix products, in place or not."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.overloadpacket.__name__.rstrip("_")
        if name in ("mm", "addmm"):
            left, right = args[-2:]
            self.total += 2 * left.shape[0] * left.shape[1] * right.shape[1]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("plain", [False, True])
def test_the_operations_of_a_step_are_those_that_are_stated(plain: bool) -> None:
    config = load_config(
        "quick_3blob",
        {"device": "cpu", "d": 64, "hidden_size": 16, "batch_size": 400, "plain": plain},
    )
    subject = Subject(config)
    with Products() as counted:
        subject.take_one()
    assert counted.total == step_operations(config)
    assert has_gram_form(config) != plain


def test_where_no_gradient_is_recorded_the_gram_form_computes_none() -> None:
    subject = Subject(load_config("quick_3blob", {"device": "cpu", "d": 64, "batch_size": 400}))
    batch, model = subject.next_batch(), subject.run.model
    with Products() as with_gradients:
        subject.objective(model, batch)
    with Products() as losses_alone, torch.inference_mode():
        subject.objective(model, batch)
    assert losses_alone.total < 0.7 * with_gradients.total


@pytest.mark.parametrize("n_members", [2, 3])
def test_a_crew_computes_what_one_thread_does(n_members: int) -> None:
    config = load_config({"data": {"d": 40, "sparsity": 3, "n_train": 700, "device": "cpu"}})
    model = TwoLayerNet(40, 12).double()
    with Crew(n_members) as crew:
        batch = SignalSource(config.data, 700, 700, "train", CPU, crew).batch(1, 0)
        both(model, Batch(batch.inputs.double(), batch.active), crew=crew)


def test_the_gradients_of_a_step_outlive_the_next_forward_pass() -> None:
    model = TwoLayerNet(12, 5)
    config = load_config({"data": {"d": 12, "n_train": 40, "device": "cpu"}})
    source = SignalSource(config.data, 40, 20, "train", CPU)
    objective = GramObjective(4.0)
    first = source.batch(1, 0)
    first = Batch(first.inputs.clone(), first.active)
    total = objective(model, first)[0]
    objective(model, source.batch(1, 1))
    late = torch.autograd.grad(total, list(model.parameters()))
    expected = torch.autograd.grad(objective(model, first)[0], list(model.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(late, expected, strict=True))


def test_a_slice_on_a_gpu_is_the_batch_unless_its_buffers_are_huge() -> None:
    gpu = torch.device("cuda")
    assert gram.slice_rows((10_000, 1024, 512, 2), gpu) == 10_000
    rows = gram.slice_rows((100_000, 1024, 512, 90), gpu)
    assert rows == gram.GPU_SLICE_BYTES // (4 * 512 * 94)
    assert gram.slice_rows((10_000, 8192, 4096, 400), gpu) == gram.MIN_GPU_SLICE_ROWS
