"""The optimizers: Adam as PyTorch has it, and stochastic gradient Langevin dynamics."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import ExperimentConfig
from trainer.data import stream_seed


class SGLD(torch.optim.Optimizer):
    """A gradient step plus N(0, 2 lr temperature) noise (Welling and Teh, 2011).

    The noise of a step is a function of (seed, step) alone, so that a run can be continued
    exactly; the step counter is part of the state.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, temperature: float = 0.0, seed: int = 0
    ) -> None:
        """Set up; ``temperature`` 0 is plain gradient descent."""
        super().__init__(params, {"lr": lr, "temperature": temperature, "step": 0})
        self._seed = seed
        device = self.param_groups[0]["params"][0].device
        self._generator = torch.Generator(device)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            self._generator.manual_seed(stream_seed(self._seed, "optimizer", 0, group["step"]))
            scale = math.sqrt(2 * group["lr"] * group["temperature"])
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.add_(parameter.grad, alpha=-group["lr"])
                if scale > 0:
                    noise = torch.empty_like(parameter).normal_(generator=self._generator)
                    parameter.add_(noise, alpha=scale)
            group["step"] += 1


class Adam(torch.optim.Adam):
    """PyTorch's Adam (Kingma and Ba, 2015), fused, without loading PyTorch's compiler.

    PyTorch's methods import the compiler to place marks that compiled code alone needs; that takes
    a second at the first step. The functions inside of their wrappers are called instead.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


def new_optimizer(
    config: ExperimentConfig, model: nn.Module, stream: int = 0
) -> torch.optim.Optimizer:
    """Return the configured optimizer for the parameters that are trained.

    Args:
        config: The configuration.
        model: The network; parameters that need no gradient are left out.
        stream: Number of the stage-two trace plus one, for noise of its own; 0 in stage one.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    training = config.training
    if training.optimizer_type == "sgld":
        seed = stream_seed(config.data.seed, "optimizer", stream)
        return SGLD(parameters, training.learning_rate, training.temperature, seed)
    options: dict[str, Any] = {"lr": training.learning_rate, "fused": True}
    return Adam(parameters, **options)
