"""One member's part of a step in the Gram form (`trainer.gram`): its slices, buffers and sums."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainer.products import Products

MIN_STRIP, MAX_STRIPS = 128, 4
"""The symmetric h'h is computed in strips of its upper triangle, four of at least 128 rows."""


class Asked(Protocol):
    """What is to be computed."""

    lambda_on: float
    products: Products
    wants_encoder: bool
    wants_gradients: bool


class Weights(NamedTuple):
    """W1 (H, d), b1 (H,), W2 (d, H), b2 (d,)."""

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor


def strips(hidden: int) -> list[slice]:
    """Return the rows of h'h, (H, H), that are computed together, from their diagonal on."""
    n = max(1, min(MAX_STRIPS, hidden // MIN_STRIP))
    return [slice(hidden * i // n, hidden * (i + 1) // n) for i in range(n)]


class Share:
    """One member's buffers for a slice, and its sums of losses and gradients.

    Attributes:
        losses: Sums of the active and of the other squared errors; float64 of shape (2,).
        moment: h'h, (H, H); only its upper triangle until `complete`.
        hidden_sum: Sum of h, (H,).
        encoder: Half of the gradient of W1, without the 3 of the cube's derivative, (H, d).
        encoder_bias: The same of b1, (H,).
        decoder: Half of the active rows' part of the gradient of W2, (d, H).
        decoder_bias: The same of b2, (d,).
    """

    def __init__(self, shape: tuple[int, int, int], encoder: Tensor) -> None:
        """Make buffers for slices of ``shape`` (R, H, k), like W1."""
        rows, hidden, k = self.shape = shape
        self.like = encoder.new_empty(0)
        d = encoder.shape[1]
        self.buffers = [encoder.new_empty(rows, hidden) for _ in range(4)]
        self.rows = encoder.new_empty(rows * k, hidden)
        self.scaled = encoder.new_empty(rows, k, hidden)
        self.losses = torch.zeros(2, dtype=torch.float64, device=encoder.device)
        self.moment = encoder.new_empty(hidden, hidden)
        self.strips = strips(hidden)
        self.hidden_sum = encoder.new_empty(hidden)
        self.encoder = torch.empty_like(encoder)
        self.encoder_bias = encoder.new_empty(hidden)
        self.decoder = encoder.new_empty(d, hidden)
        self.decoder_bias = encoder.new_empty(d)
        self.few = self.losses, self.moment, self.hidden_sum, self.encoder_bias, self.decoder_bias

    def is_unlike(self, shape: tuple[int, int, int], encoder: Tensor) -> bool:
        """Return whether other buffers are needed."""
        like = self.like
        return (
            self.shape != shape
            or self.encoder.shape != encoder.shape
            or (like.dtype, like.device) != (encoder.dtype, encoder.device)
        )

    def clear(self) -> None:
        """Begin a batch."""
        for total in (*self.few, self.encoder, self.decoder):
            total.zero_()

    def merge(self, other: Share) -> None:
        """Add another member's sums, but for those that are as large as a weight matrix."""
        for total, more in zip(self.few, other.few, strict=True):
            total.add_(more)

    def complete(self) -> None:
        """Fill in the lower triangle of h'h."""
        for strip in self.strips:
            self.moment[strip.stop :, strip] = self.moment[strip, strip.stop :].T

    def add(
        self,
        asked: Asked,
        weights: Weights,
        gram: Tensor,
        pull: Tensor,
        inputs: Tensor,
        active: Tensor,
    ) -> None:
        """Add a slice: inputs (R, d), active (R, k); W1 and ``gram`` are operands of products."""
        n, k = active.shape
        products = asked.products
        t, square, h, product = (buffer[:n] for buffer in self.buffers)
        inputs = products.operand(inputs)
        products.tanh_(products.write(t, weights.encoder_bias, inputs, weights.encoder.T))
        torch.mul(t, t, out=square)
        torch.mul(square, t, out=h)
        self.hidden_sum += h.sum(dim=0)
        low = products.operand(h)
        for strip in self.strips:
            products.add(self.moment[strip, strip.start :], low[:, strip].T, low[:, strip.start :])
        flat = active.reshape(-1)
        rows = torch.index_select(weights.decoder, 0, flat, out=self.rows[: n * k]).view(n, k, -1)
        scaled = torch.mul(rows, h[:, None, :], out=self.scaled[:n])
        on = scaled.sum(-1) + weights.decoder_bias[active]
        error = on - 1
        self.losses[0] += asked.lambda_on * error.square().sum()
        self.losses[1] -= on.square().sum()
        if not asked.wants_gradients:
            return
        # From here on everything is half of the gradient; the factor 2/B comes at the end.
        weight = asked.lambda_on * error - on
        torch.mul(weight[:, :, None], h[:, None, :], out=scaled)
        self.decoder.index_add_(0, flat, scaled.view(n * k, -1))
        self.decoder_bias.index_add_(0, flat, weight.reshape(-1))
        if asked.wants_encoder:
            products.write(product, pull, low, gram)
            for i in range(k):
                product.addcmul_(weight[:, i, None], rows[:, i])
            # d(t^3)/dz = 3 (t^2 - t^4); the 3 comes at the end, too.
            dz = product.mul_(square.addcmul_(square, square, value=-1))
            products.add(self.encoder, products.operand(dz).T, inputs)
            self.encoder_bias += dz.sum(dim=0)
