"""Per-sample gradient norms, exactly, for the price of about one more backward pass.

Shapes: B samples of a batch, d coordinates, ``hidden`` hidden units.

A linear layer's weight gradient for one sample is an outer product, so its norm needs no
per-sample gradient: with d2_i = dL_i/d out_i and d1_i = dL_i/d (W1 x_i + b1),
``|g_i|^2 = |d2_i|^2 (|h_i|^2 + 1) + |d1_i|^2 (|x_i|^2 + 1)``; the ones are the biases
(Goodfellow 2015, arXiv:1510.01799). The statistics made from it are those of McCandlish et al.
2018, arXiv:1812.06162, section 2.2 and appendix A.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.data import Batch
from trainer.losses import Loss
from trainer.model import TwoLayerNet


@dataclass(frozen=True, slots=True)
class GradientMoments:
    """What one batch says about the gradient's mean and spread, both without bias.

    Attributes:
        n_samples: Samples in the batch.
        trace: Estimate of tr(S), the summed variance of one sample's gradient.
        squared_norm: Estimate of |G|^2, of the whole objective (penalty included); its expectation
            is right, so a single one may be negative where the gradient drowns in noise.
    """

    n_samples: int
    trace: float
    squared_norm: float


@dataclass(slots=True)
class _Passage:
    """Input and output of one linear layer in one forward pass."""

    inputs: Tensor | None = None
    output: Tensor | None = None


def per_sample_squared_norms(model: TwoLayerNet, loss: Loss, batch: Batch) -> Tensor:
    """Return |g_i|^2 of each sample's own loss, without penalty; float64 of shape (B,).

    The parameters' ``grad`` afterwards holds the gradient of the batch's mean loss.

    Args:
        model: The network; its forward pass must go through ``fc1`` and ``fc2``.
        loss: A mean over the batch of terms that each depend on one sample alone.
        batch: The samples.
    """
    passages = {layer: _Passage() for layer in (model.fc1, model.fc2)}

    def remember(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        passages[layer] = _Passage(inputs[0].detach(), output)

    handles = [layer.register_forward_hook(remember) for layer in passages]
    try:
        model.zero_grad()
        loss_on, loss_off = loss(model(batch.inputs), batch.active)
        (loss_on + loss_off).backward()
    finally:
        for handle in handles:
            handle.remove()
    norms = torch.zeros(len(batch), dtype=torch.float64, device=batch.inputs.device)
    for passage in passages.values():
        assert passage.inputs is not None and passage.output is not None
        assert passage.output.grad is not None
        # The loss is a mean, so what comes back is one sample's gradient divided by B.
        delta = passage.output.grad * len(batch)
        norms += delta.square().sum(1).double() * (passage.inputs.square().sum(1).double() + 1)
    return norms


def gradient_moments(
    model: TwoLayerNet, loss: Loss, batch: Batch, penalty: Tensor | None = None
) -> GradientMoments:
    """Return the batch's estimates of tr(S) and |G|^2; the gradients are cleared afterwards.

    Args:
        model: The network.
        loss: A mean over the batch.
        batch: At least two samples.
        penalty: The regularisation term. It is the same for every sample: part of G, not of S.
    """
    n = len(batch)
    if n < 2:
        raise ValueError("a variance needs at least two samples")
    norms = per_sample_squared_norms(model, loss, batch)
    parameters = list(model.parameters())
    mean_norm = _squared_norm(parameters)
    trace = (float(norms.mean()) - mean_norm) * n / (n - 1)
    if penalty is not None and penalty.requires_grad:
        penalty.backward()
    squared_norm = _squared_norm(parameters) - trace / n
    model.zero_grad()
    return GradientMoments(n, trace, squared_norm)


def _squared_norm(parameters: list[nn.Parameter]) -> float:
    grads = [p.grad for p in parameters if p.grad is not None]
    return float(sum(float(grad.double().square().sum()) for grad in grads))
