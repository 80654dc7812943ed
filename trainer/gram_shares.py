"""One member's part of a step in the Gram form (`trainer.gram`): its slices, buffers and sums.

Python runs one member at a time between operations, so what can be done once for the whole batch
is not done here for every slice.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainer.products import Products

SUM = 0
"""`torch.embedding_bag`'s mode."""
MIN_STRIP, MAX_STRIPS = 128, 4
"""The symmetric h'h is computed in strips of its upper triangle, four of at least 128 rows."""


class Asked(Protocol):
    """What is to be computed.

    Attributes:
        gram: G as an operand of products, (H, H).
        pull: W2'b2, (H,).
    """

    products: Products
    gram: Tensor
    pull: Tensor
    wants_encoder: bool
    wants_gradients: bool

    def half_slope(self, on: Tensor) -> Tensor:
        """Return half of the loss's derivative by each active output."""


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
    """One member's buffers for a slice, and its sums.

    Attributes:
        moment: h'h, (H, H); only its upper triangle until `complete`.
        hidden_sum: Sum of h, (H,).
        encoder: Half of the gradient of W1, without the 3 of the cube's derivative, (H, d).
        encoder_bias: The same of b1, (H,).
        decoder: Half of the active rows' part of the gradient of W2, (d, H).
    """

    def __init__(self, shape: tuple[int, int, int], encoder: Tensor) -> None:
        """Make buffers for slices of at most ``shape`` (R, H, k), like W1."""
        rows, hidden, k = self.shape = shape
        self.like = encoder.new_empty(0)
        d = encoder.shape[1]
        self.buffers = [encoder.new_empty(rows, hidden) for _ in range(4)]
        self.rows = encoder.new_empty(rows * k, hidden)
        self.firsts = torch.arange(0, rows * k, k, device=encoder.device)
        self.moment = encoder.new_empty(hidden, hidden)
        self.strips = strips(hidden)
        self.hidden_sum = encoder.new_empty(hidden)
        self.encoder = torch.empty_like(encoder)
        self.encoder_bias = encoder.new_empty(hidden)
        self.decoder = encoder.new_empty(d, hidden)
        self.few = self.moment, self.hidden_sum, self.encoder_bias

    def has_room(self, shape: tuple[int, int, int], encoder: Tensor) -> bool:
        """Return whether slices of ``shape`` fit, of a network like W1."""
        like = self.like
        return (
            self.shape[0] >= shape[0]
            and self.shape[1:] == shape[1:]
            and self.encoder.shape == encoder.shape
            and (like.dtype, like.device) == (encoder.dtype, encoder.device)
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
        inputs: Tensor,
        active: Tensor,
        on: Tensor,
    ) -> None:
        """Add a slice: inputs (R, d), active (R, k); W1 is an operand of products.

        The active outputs, (R, k), are written to ``on``.
        """
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
        rows = torch.index_select(weights.decoder, 0, flat, out=self.rows[: n * k])
        scaled = rows.view(n, k, -1)
        torch.add(scaled.mul_(h[:, None, :]).sum(-1), weights.decoder_bias[active], out=on)
        if not asked.wants_gradients:
            return
        # From here on everything is half of the gradient; the factor 2/B comes at the end.
        weight = asked.half_slope(on)
        torch.mul(weight[:, :, None], h[:, None, :], out=scaled)
        self.decoder.index_add_(0, flat, rows)
        if asked.wants_encoder:
            products.write(product, asked.pull, low, asked.gram)
            sums = torch.embedding_bag(
                weights.decoder, flat, self.firsts[:n], False, SUM, False, weight.view(-1)
            )
            product += sums[0]
            # d(t^3)/dz = 3 (t^2 - t^4); the 3 comes at the end, too.
            dz = product.mul_(square.addcmul_(square, square, value=-1))
            products.add(self.encoder, products.operand(dz).T, inputs)
            self.encoder_bias += dz.sum(dim=0)
