"""Where encoder and decoder weights are in what users hand over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def encoder_decoder(model: Any, decoder: Any = None) -> tuple[Any, Any]:
    """Return encoder (hidden, d) and decoder (d, hidden) as arrays or detached tensors.

    Args:
        model: A model with ``fc1.weight`` and ``fc2.weight``, a mapping with these keys, or the
            encoder itself if ``decoder`` is given.
        decoder: The decoder.

    Raises:
        TypeError: There are no such weights.
        ValueError: Their shapes do not belong together.
    """
    if decoder is not None:
        encoder = model
    elif isinstance(model, Mapping):
        encoder, decoder = _entry(model, "fc1.weight"), _entry(model, "fc2.weight")
    elif hasattr(model, "fc1") and hasattr(model, "fc2"):
        encoder, decoder = model.fc1.weight, model.fc2.weight
    else:
        raise TypeError(
            "need a model with fc1.weight and fc2.weight, or encoder and decoder weights;"
            f" got {type(model).__name__}"
        )
    encoder, decoder = _detached(encoder), _detached(decoder)
    if encoder.ndim != 2 or tuple(decoder.shape) != tuple(encoder.shape)[::-1]:
        raise ValueError(
            "the encoder must be (hidden, d) and the decoder (d, hidden); got"
            f" {tuple(encoder.shape)} and {tuple(decoder.shape)}"
        )
    return encoder, decoder


def _entry(state: Mapping[str, Any], key: str) -> Any:
    if key not in state:
        raise TypeError(f"the weights have no {key}; there are: {', '.join(map(str, state))}")
    return state[key]


def _detached(weight: Any) -> Any:
    return weight.detach() if hasattr(weight, "detach") else weight
