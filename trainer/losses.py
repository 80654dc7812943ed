"""What is minimised. Shapes: B samples, d coordinates, k active ones.

A loss returns two terms, the active coordinates' (``loss_on``) and the others' (``loss_off``), each
a mean over the batch; ``scaled_loss`` is their sum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.config import LossConfig

Terms = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Terms]


def scaled_mse(output: Tensor, active: Tensor, lambda_on: float) -> Terms:
    """Squared errors, summed over coordinates: ``lambda_on sum_on (out-1)^2 + sum_off out^2``.

    Args:
        output: Reconstruction of shape (B, d).
        active: Positions of the ones, int64 of shape (B, k).
        lambda_on: Weight of the active coordinates; ``loss_on`` carries it.
    """
    on = output.gather(1, active)
    loss_on = lambda_on * (on - 1).square().sum()
    loss_off = output.square().sum() - on.square().sum()
    return loss_on / len(output), loss_off / len(output)


def logistic(output: Tensor, active: Tensor, lambda_on: float) -> Terms:
    """A smooth maximum of the same squared errors: d times their log-mean-exp.

    With e = lambda_on (out-1)^2 at active and out^2 at other coordinates, a sample costs
    ``d (log sum exp(e) - log d)``: 0 for a perfect output. ``loss_off`` is what it would cost if
    the active coordinates were perfect, ``loss_on`` the rest, so that the two add up.

    Args: see `scaled_mse`.
    """
    d = output.shape[1]
    on = output.gather(1, active)
    errors = output.square().scatter(1, active, lambda_on * (on - 1).square())
    total = d * (errors.logsumexp(dim=1) - torch.tensor(float(d)).log()).mean()
    perfect = errors.scatter(1, active, 0.0)
    loss_off = d * (perfect.logsumexp(dim=1) - torch.tensor(float(d)).log()).mean()
    return total - loss_off, loss_off


def new_loss(config: LossConfig) -> Loss:
    """Return the configured loss as a function of output and active positions."""
    function = {"scaled_mse": scaled_mse, "logistic": logistic}[config.loss_type]
    return lambda output, active: function(output, active, config.lambda_on)
