"""The scaled squared error and its gradients without the decoder's full output.

Shapes: B samples, d coordinates, k active ones, H hidden units; h is the (B, H) activation. With
G = W2'W2 the sum of all squared outputs is

    sum_j out_j^2 = h'Gh + 2 (W2'b2)'h + |b2|^2,

so only the k active outputs of each sample are ever computed. The gradients use the same products:
d/dh = 2Gh + 2 W2'b2 plus the active rows, and dW2 = 2 W2 (h'h) plus the active rows. Everything is
exact; with H = d/2 the matrix work falls from 5 to 3 products of size B x d x H.

A batch is worked through in slices of rows that stay in the cache, and every buffer is reused:
large tensors that are allocated anew at each step cost page faults (24-38% of a step on glibc).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SLICE_BYTES = 4 << 20
"""Size of a slice's inputs on the CPU; on a GPU a batch is one slice."""
MIN_SLICE_ROWS = 256
ROW_COST = 20
"""Cost of gathering one number of an active row, in floating-point operations of a product."""


def is_cheaper(n_samples: int, d: int, hidden: int, k: int) -> bool:
    """Return whether this form costs less than the plain one, by count of operations.

    The plain form has five products of B x d x H. This one has fewer (see `multiply_adds`) and a
    few passes over the B x k x H active rows.
    """
    plain = 5 * n_samples * d * hidden
    return multiply_adds(n_samples, d, hidden) + ROW_COST * n_samples * k * hidden < plain


def multiply_adds(n_samples: int, d: int, hidden: int) -> int:
    """Count those of a step's products: two each of B x d x H, of B x H x H and of d x H x H."""
    return 2 * (n_samples * d * hidden + n_samples * hidden**2 + d * hidden**2)


def slice_rows(n_samples: int, d: int, device: torch.device) -> int:
    """Return how many rows of a batch are worked on at a time."""
    if device.type != "cpu":
        return n_samples
    return min(n_samples, max(MIN_SLICE_ROWS, SLICE_BYTES // (4 * d)))


class GramLoss(torch.autograd.Function):
    """Total, active and other loss of a batch; gradients are computed along with them."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        active: Tensor,
        encoder: Tensor,
        encoder_bias: Tensor,
        decoder: Tensor,
        decoder_bias: Tensor,
        lambda_on: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return total, ``loss_on`` and ``loss_off``; only the total has a gradient.

        Args:
            ctx: Keeps the gradients.
            inputs: (B, d).
            active: Positions of the ones, int64 of shape (B, k).
            encoder: W1 of shape (H, d).
            encoder_bias: b1 of shape (H,).
            decoder: W2 of shape (d, H).
            decoder_bias: b2 of shape (d,).
            lambda_on: Weight of the active coordinates.
        """
        work = _Work(encoder, encoder_bias, decoder, decoder_bias, lambda_on)
        work.wants_encoder = ctx.needs_input_grad[2]
        work.wants_gradients = any(ctx.needs_input_grad)
        rows = slice_rows(len(inputs), inputs.shape[1], inputs.device)
        for start in range(0, len(inputs), rows):
            work.add(inputs[start : start + rows], active[start : start + rows])
        loss_on, loss_off = work.losses()
        ctx.gradients = work.gradients() if work.wants_gradients else ()
        ctx.mark_non_differentiable(loss_on, loss_off)
        return loss_on + loss_off, loss_on, loss_off

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients by that of the total."""
        gradients = [None if g is None else g * outputs[0] for g in ctx.gradients]
        return (None, None, *gradients, None)


class _Work:
    """Sums of losses and gradients over the slices of one batch."""

    def __init__(
        self,
        encoder: Tensor,
        encoder_bias: Tensor,
        decoder: Tensor,
        decoder_bias: Tensor,
        lambda_on: float,
    ) -> None:
        self.encoder, self.encoder_bias = encoder, encoder_bias
        self.decoder, self.decoder_bias = decoder, decoder_bias
        self.lambda_on = lambda_on
        self.wants_encoder = self.wants_gradients = True
        self.n_samples = 0
        self.gram = decoder.T @ decoder
        self.pull = decoder.T @ decoder_bias
        self.sums = torch.zeros(2, dtype=torch.float64, device=encoder.device)
        self.moment = torch.zeros_like(self.gram)
        self.hidden_sum = torch.zeros_like(encoder_bias)
        self.row_gradient = torch.zeros_like(decoder)
        self.row_bias_gradient = torch.zeros_like(decoder_bias)
        self.encoder_gradient = torch.zeros_like(encoder)
        self.encoder_bias_gradient = torch.zeros_like(encoder_bias)

    def add(self, inputs: Tensor, active: Tensor) -> None:
        """Add a slice: inputs (R, d), active (R, k)."""
        t = torch.addmm(self.encoder_bias, inputs, self.encoder.T).tanh_()
        square = t * t
        h = square * t
        product = h @ self.gram
        rows = self.decoder[active]
        on = (rows @ h[:, :, None])[:, :, 0] + self.decoder_bias[active]
        error = on - 1
        on_sum = self.lambda_on * error.square().sum()
        all_sum = torch.dot(product.view(-1), h.view(-1)) + 2 * (h @ self.pull).sum()
        self.sums += torch.stack([on_sum, all_sum - on.square().sum()])
        self.n_samples += len(inputs)
        if not self.wants_gradients:
            return
        # From here on everything is half of the gradient; the factor 2/B comes at the end.
        weight = self.lambda_on * error - on
        self.moment.addmm_(h.T, h)
        self.hidden_sum += h.sum(dim=0)
        flat = active.reshape(-1)
        scaled = (weight[:, :, None] * h[:, None, :]).view(len(flat), -1)
        self.row_gradient.index_add_(0, flat, scaled)
        self.row_bias_gradient.index_add_(0, flat, weight.reshape(-1))
        if self.wants_encoder:
            dh = product.add_(self.pull)
            dh += (weight[:, None, :] @ rows)[:, 0, :]
            dz = dh.mul_(square.mul(3).addcmul_(square, square, value=-3))
            self.encoder_gradient.addmm_(dz.T, inputs)
            self.encoder_bias_gradient += dz.sum(dim=0)

    def losses(self) -> tuple[Tensor, Tensor]:
        """Return loss_on and loss_off, means over the batch."""
        bias = self.decoder_bias.double().square().sum()
        mean = self.sums / self.n_samples
        dtype = self.encoder.dtype
        return mean[0].to(dtype), (mean[1] + bias).to(dtype)

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the gradients of W1, b1, W2, b2."""
        factor = 2 / self.n_samples
        decoder = self.row_gradient.addmm_(self.decoder, self.moment)
        decoder.addr_(self.decoder_bias, self.hidden_sum)
        bias = self.row_bias_gradient.addmv_(self.decoder, self.hidden_sum)
        bias.add_(self.decoder_bias, alpha=self.n_samples)
        encoder = (self.encoder_gradient, self.encoder_bias_gradient)
        return (
            *((g.mul_(factor) if self.wants_encoder else None) for g in encoder),
            decoder.mul_(factor),
            bias.mul_(factor),
        )
