"""The objective: from a network and a batch to the loss and its two terms.

There are two ways to the same numbers: the textbook form, by the network's full output, and the
Gram form for the scaled squared error, which needs three fifths of the work at hidden = d/2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.config import ExperimentConfig
from trainer.crew import SOLO, Crew, crew_size
from trainer.data import Batch
from trainer.gram import GramObjective, is_cheaper, multiply_adds
from trainer.losses import new_loss
from trainer.model import TwoLayerNet
from trainer.products import Bf16Products, Products

Terms = tuple[Tensor, Tensor, Tensor]
Objective = Callable[[TwoLayerNet, Batch], Terms]
"""Returns total, loss_on and loss_off, scalars; the total is what may be differentiated."""
OPERATIONS_OF_ONE_THREAD = 3e7
"""A step with fewer is best done by one thread."""


def new_objective(config: ExperimentConfig, crew: Crew = SOLO) -> Objective:
    """Return the cheaper form for this configuration, or the textbook form if it asks for it."""
    if has_gram_form(config):
        products = Products()
        if config.training.precision == "bf16":
            # Else a GPU may round parts of a product's sums, too.
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
            products = Bf16Products()
        return GramObjective(config.loss.lambda_on, crew, products)
    return plain_objective(config)


def new_crew(config: ExperimentConfig, device: torch.device) -> Crew:
    """Return the crew for a configuration; the textbook form leaves threading to PyTorch.

    Small steps get one thread: a second one gained 13% at most, and little to nothing mostly.
    """
    if device.type != "cpu":
        return SOLO
    if step_operations(config) < OPERATIONS_OF_ONE_THREAD:
        return Crew(threads=1)
    if not has_gram_form(config):
        return SOLO
    size = min(config.training.batch_size, config.data.n_train)
    return Crew(crew_size(size, config.data.d, config.model.hidden_size))


def has_gram_form(config: ExperimentConfig) -> bool:
    """Say whether training by this configuration uses the Gram form."""
    data, training = config.data, config.training
    size = min(training.batch_size, data.n_train)
    return (
        config.loss.loss_type == "scaled_mse"
        and not training.plain
        and is_cheaper(size, data.d, config.model.hidden_size, data.sparsity)
    )


def step_operations(config: ExperimentConfig) -> float:
    """Return the floating-point operations of a step's matrix products, in the form it has.

    The textbook form has two products forward and three backward (the gradient of the input is not
    needed), each of B x d x H multiply-adds; a multiply-add counts as two.
    """
    size, d, hidden = config.training.batch_size, config.data.d, config.model.hidden_size
    size = min(size, config.data.n_train)
    if has_gram_form(config):
        return 2.0 * multiply_adds(size, d, hidden)
    return 10.0 * size * d * hidden


def plain_objective(config: ExperimentConfig) -> Objective:
    """Return the textbook form: the loss of the network's output."""
    loss = new_loss(config.loss)
    bf16 = config.training.precision == "bf16"

    def objective(model: TwoLayerNet, batch: Batch) -> Terms:
        with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=bf16):
            output = model(batch.inputs)
        loss_on, loss_off = loss(output.float() if bf16 else output, batch.active)
        return loss_on + loss_off, loss_on, loss_off

    return objective
