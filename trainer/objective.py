"""The objective: from a network and a batch to the loss and its two terms.

There are two ways to the same numbers: the textbook form, by the network's full output, and the
Gram form for the scaled squared error, which needs three fifths of the work at hidden = d/2.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from trainer.config import ExperimentConfig
from trainer.data import Batch
from trainer.gram import GramLoss, is_cheaper
from trainer.losses import new_loss
from trainer.model import TwoLayerNet

Terms = tuple[Tensor, Tensor, Tensor]
Objective = Callable[[TwoLayerNet, Batch], Terms]
"""Returns total, loss_on and loss_off, scalars; the total is what may be differentiated."""


def new_objective(config: ExperimentConfig) -> Objective:
    """Return the cheaper form for this configuration, or the textbook form if it asks for it."""
    data, training = config.data, config.training
    size = min(training.batch_size, data.n_train)
    if (
        config.loss.loss_type == "scaled_mse"
        and not training.plain
        and is_cheaper(size, data.d, config.model.hidden_size, data.sparsity)
    ):
        return gram_objective(config.loss.lambda_on)
    return plain_objective(config)


def plain_objective(config: ExperimentConfig) -> Objective:
    """Return the textbook form: the loss of the network's output."""
    loss = new_loss(config.loss)

    def objective(model: TwoLayerNet, batch: Batch) -> Terms:
        loss_on, loss_off = loss(model(batch.inputs), batch.active)
        return loss_on + loss_off, loss_on, loss_off

    return objective


def gram_objective(lambda_on: float) -> Objective:
    """Return the Gram form of the scaled squared error; see `trainer.gram`."""

    def objective(model: TwoLayerNet, batch: Batch) -> Terms:
        encoder, decoder = model.fc1, model.fc2
        total, loss_on, loss_off = GramLoss.apply(  # type: ignore[no-untyped-call]
            batch.inputs,
            batch.active,
            encoder.weight,
            encoder.bias,
            decoder.weight,
            decoder.bias,
            lambda_on,
        )
        return total, loss_on, loss_off

    return objective
