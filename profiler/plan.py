"""What is to be tried: sizes, learning rates, order. Pure: no process, no file.

Units: batch sizes in samples.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from diagnostics.contract.errors import BlobwatchError
from trainer.config import ExperimentConfig, to_nested

Rule = Literal["constant", "sqrt", "linear"]
RULES: tuple[Rule, ...] = ("constant", "sqrt", "linear")
DEFAULT_FACTORS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4)
"""More smaller than larger ones: the least time to a loss is mostly below what is configured."""
SMALLEST_SIZE = 16


class PlanError(BlobwatchError):
    """What was asked for cannot be tried; the message says what, and what can."""


def default_sizes(config: ExperimentConfig) -> list[int]:
    """Return sizes around the configured one, ascending, none above ``n_train``."""
    own, n_train = config.training.batch_size, config.data.n_train
    own = min(own, n_train)
    sizes = {max(1, min(round(own * factor), n_train)) for factor in DEFAULT_FACTORS}
    useful = {size for size in sizes if size >= min(SMALLEST_SIZE, own)}
    return sorted(useful | {own})


def check_sizes(sizes: Iterable[Any], config: ExperimentConfig) -> list[int]:
    """Return the sizes, ascending.

    Raises:
        PlanError: None, not whole, below 1, twice, or above ``n_train``: all problems in one line.
    """
    n_train = config.data.n_train
    try:
        given = list(sizes)
    except TypeError:
        raise PlanError(f"batch sizes: got {sizes!r}; give a list of whole numbers") from None
    problems = [] if given else ["no size given"]
    whole = []
    for size in given:
        if (number := _whole(size)) is None:
            problems.append(f"{size!r} is not a whole number")
        else:
            whole.append(number)
    for number in dict.fromkeys(whole):
        if number < 1:
            problems.append(f"{number} is below 1")
        elif number > n_train:
            problems.append(f"{number} is more than data.n_train ({n_train})")
        if whole.count(number) > 1:
            problems.append(f"{number} is given {whole.count(number)} times")
    if problems:
        raise PlanError(
            f"batch sizes: {'; '.join(problems)}; give different whole numbers from 1 to {n_train}"
        )
    return sorted(whole)


def check_epochs(epochs: Any) -> int:
    """Return the number of epochs, or say that it is none.

    Raises:
        PlanError: Not a whole number of at least 1.
    """
    found = _whole(epochs)
    if found is None or found < 1:
        raise PlanError(f"epochs: got {epochs!r}; must be a whole number >= 1")
    return found


def _whole(value: Any) -> int | None:
    """Return a whole number of any kind (Python's, NumPy's) as an int, None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def learning_rate(config: ExperimentConfig, size: int, rule: Rule) -> float:
    """Return the rate for ``size``, scaled from the configured pair of rate and size.

    ``sqrt`` suits Adam (Malladi et al. 2022, arXiv:2205.10287), ``linear`` plain gradient descent
    (Goyal et al. 2017, arXiv:1706.02677, section 2.1).
    """
    ratio = size / config.training.batch_size
    factor = {"constant": 1.0, "sqrt": math.sqrt(ratio), "linear": ratio}[rule]
    return config.training.learning_rate * factor


def jobs(sizes: Sequence[int], rules: Sequence[Rule], own_size: int) -> list[tuple[int, Rule]]:
    """Return the trials in their order: by rule, the smallest size first.

    At the configured size every rule gives the configured rate, so it is tried once.
    """
    return [
        (size, rule)
        for rule in rules
        for size in sorted(sizes)
        if rule == "constant" or size != own_size
    ]


def trial_config(config: ExperimentConfig, size: int, device: str) -> dict[str, Any]:
    """Return the configuration of a trial as a fresh nested dict; ``config`` stays as it is."""
    nested = to_nested(config)
    nested["training"]["batch_size"] = size
    nested["data"]["device"] = device
    return nested


def chosen_config(config: ExperimentConfig, size: int, rule: Rule) -> dict[str, Any]:
    """Return the configuration to train with: the chosen size and its learning rate."""
    nested = to_nested(config)
    nested["training"]["batch_size"] = size
    nested["training"]["learning_rate"] = learning_rate(config, size, rule)
    return nested


def smaller_sizes(smallest: int) -> list[int]:
    """Return up to two sizes worth a trial below ``smallest``, ascending."""
    return sorted({size for size in (smallest // 4, smallest // 2) if size >= SMALLEST_SIZE})


def round_order(sizes: Sequence[int], round_number: int) -> list[int]:
    """Return the order of one round of windows: turned by one each time, every other one reversed.

    So no size is always measured after the same neighbour, nor always at a round's end.
    """
    shift = round_number % len(sizes) if sizes else 0
    turned = [*sizes[shift:], *sizes[:shift]]
    return turned[::-1] if round_number % 2 else turned
