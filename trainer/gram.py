"""The scaled squared error and its gradients without the decoder's full output.

Shapes: B samples, d coordinates, k active ones, H hidden units; h is the (B, H) activation. With
G = W2'W2 the sum of all squared outputs is

    sum_j out_j^2 = h'Gh + 2 (W2'b2)'h + |b2|^2,

so only the k active outputs of each sample are ever computed. The gradients use the same products:
d/dh = 2Gh + 2 W2'b2 plus the active rows, and dW2 = 2 W2 (h'h) plus the active rows. Everything is
exact; with H = d/2 the matrix work falls from 5 to 3 products of size B x d x H.

The members of a crew share the rows of a batch, each working through slices that stay in its cache,
and buffers are reused: large tensors that are allocated anew at each step cost page faults (24-38%
of a step on glibc).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainer.crew import SOLO, Crew
from trainer.data import Batch
from trainer.gram_shares import Share, Weights
from trainer.model import TwoLayerNet
from trainer.products import Products

SLICE_BYTES = 4 << 20
"""Size of a slice's inputs on the CPU."""
GPU_SLICE_BYTES, MIN_GPU_SLICE_ROWS = 1 << 30, 4096
"""Size of a slice's buffers on a GPU, where most batches are one slice."""
MIN_SLICE_ROWS = 256
SHARED_WEIGHTS = 100_000
"""With fewer in a matrix, waking another thread takes longer than what it would do."""
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
    """Count those of a step's products: two each of B x d x H, of B x H x H and of d x H x H.

    All are counted in full, though up to three eighths of the symmetric h'h are never computed.
    """
    return 2 * (n_samples * d * hidden + n_samples * hidden**2 + d * hidden**2)


def slice_rows(shape: tuple[int, int, int, int], device: torch.device, n_members: int = 1) -> int:
    """Return how many rows of a batch are worked on at a time; each member gets as many slices.

    Args:
        shape: B, d, H and k.
        device: Where the batch is.
        n_members: Members of the crew.
    """
    n_samples, d, hidden, k = shape
    if device.type != "cpu":
        rows = GPU_SLICE_BYTES // (4 * hidden * (k + 4))
        return min(n_samples, max(MIN_GPU_SLICE_ROWS, rows))
    rows = max(MIN_SLICE_ROWS, SLICE_BYTES // (4 * d))
    n_rounds = -(-n_samples // (rows * n_members))
    return -(-n_samples // (n_rounds * n_members))


class GramObjective:
    """The objective in this form, with the buffers that its steps share."""

    def __init__(
        self, lambda_on: float, crew: Crew = SOLO, products: Products | None = None
    ) -> None:
        """Take the weight of the active coordinates, the crew that works, and its arithmetic."""
        self.lambda_on = lambda_on
        self.crew = crew
        self.products = products or Products()
        self.shares: list[Share] = []
        self.gram = self.pull = torch.empty(0)
        self.wants_encoder = self.wants_gradients = False

    def __call__(self, model: TwoLayerNet, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return total, ``loss_on`` and ``loss_off``, scalars; only the total has a gradient."""
        weights = [*model.fc1.parameters(), *model.fc2.parameters()]
        if not torch.is_grad_enabled():
            # PyTorch asks a function for a parameter's gradient even where none is recorded.
            weights = [weight.detach() for weight in weights]
        total, loss_on, loss_off = GramLoss.apply(self, batch.inputs, batch.active, *weights)  # type: ignore[no-untyped-call]
        return total, loss_on, loss_off

    def half_slope(self, on: Tensor) -> Tensor:
        """Return half of the loss's derivative by each active output."""
        return (self.lambda_on - 1) * on - self.lambda_on

    def work_through(self, inputs: Tensor, active: Tensor, weights: Weights) -> Tensor:
        """Sum over the batch in the members' shares; return the active outputs, (B, k)."""
        hidden, d = weights.encoder.shape
        n, crew = len(inputs), self.crew
        k = active.shape[1]
        rows = slice_rows((n, d, hidden, k), inputs.device, crew.size)
        shape = rows, hidden, k
        if not (self.shares and self.shares[0].has_room(shape, weights.encoder)):
            with torch.inference_mode(False):
                self.shares = [Share(shape, weights.encoder) for _ in range(crew.size)]
        operand = self.products.operand
        decoder = operand(weights.decoder)
        self.gram = decoder.new_empty(hidden, hidden)
        self.pull = weights.decoder.T @ weights.decoder_bias
        low = weights._replace(encoder=operand(weights.encoder))
        on = inputs.new_empty(active.shape)
        sharing = self.sharing(weights)

        def multiply(member: int) -> None:
            part = sharing.part(hidden, member)
            self.gram[:, part] = decoder.T @ decoder[:, part]

        def add(member: int) -> None:
            share = self.shares[member]
            share.clear()
            for start in range(member * rows, n, crew.size * rows):
                part = slice(start, start + rows)
                share.add(self, low, inputs[part], active[part], on[part])

        sharing.each(multiply)
        crew.each(add)
        first, *others = self.shares
        for share in others:
            first.merge(share)
        first.complete()
        return on

    def sharing(self, weights: Weights) -> Crew:
        """Return who does what is to be done for each weight: of few, the calling thread alone."""
        return self.crew if weights.encoder.numel() >= SHARED_WEIGHTS else SOLO

    def losses(self, on: Tensor, weights: Weights) -> Tensor:
        """Return ``loss_on`` and ``loss_off`` of the batch that was worked through, float64."""
        share = self.shares[0]
        # the sum of h'Gh over the samples is that of all entries of (sum of hh') * G
        squares = (share.moment * self.gram).sum() + 2 * torch.dot(share.hidden_sum, self.pull)
        sums = torch.stack([(on - 1).square().sum(), on.square().sum(), squares]).double()
        mean = sums / len(on)
        all_off = mean[2] - mean[1] + weights.decoder_bias.double().square().sum()
        return torch.stack([self.lambda_on * mean[0], all_off])

    def gradients(self, weights: Weights, active: Tensor, on: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of W1, b1, W2, b2; new tensors."""
        share, factor, operand = self.shares[0], 2 / len(on), self.products.operand
        crew = self.sharing(weights)
        moment = operand(share.moment)
        encoder, decoder = torch.empty_like(weights.encoder), torch.empty_like(weights.decoder)

        def finish(member: int) -> None:
            part = crew.part(len(decoder), member)
            rows = self.products.add(share.decoder[part], operand(weights.decoder[part]), moment)
            rows.addr_(weights.decoder_bias[part], share.hidden_sum)
            for other in self.shares[1:]:
                rows += other.decoder[part]
            torch.mul(rows, factor, out=decoder[part])
            if self.wants_encoder:
                part = crew.part(len(encoder), member)
                for other in self.shares[1:]:
                    share.encoder[part] += other.encoder[part]
                # The 3 of the cube's derivative 3 t^2 was left out so far.
                torch.mul(share.encoder[part], 3 * factor, out=encoder[part])

        crew.each(finish)
        bias = torch.addmv(len(on) * weights.decoder_bias, weights.decoder, share.hidden_sum)
        bias.index_add_(0, active.reshape(-1), self.half_slope(on).view(-1))
        if not self.wants_encoder:
            return None, None, decoder, bias * factor
        return encoder, share.encoder_bias * (3 * factor), decoder, bias * factor


class GramLoss(torch.autograd.Function):
    """Total, active and other loss of a batch; gradients are computed along with them."""

    @staticmethod
    def forward(
        ctx: Any, objective: GramObjective, inputs: Tensor, active: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return total, ``loss_on`` and ``loss_off``; only the total has a gradient.

        Args:
            ctx: Keeps the gradients.
            objective: Does the work.
            inputs: (B, d).
            active: Positions of the ones, int64 of shape (B, k).
            *weights: W1 (H, d), b1 (H,), W2 (d, H), b2 (d,).
        """
        objective.wants_encoder = ctx.needs_input_grad[3]
        objective.wants_gradients = any(ctx.needs_input_grad)
        detached = Weights(*(weight.detach() for weight in weights))
        on = objective.work_through(inputs, active, detached)
        loss_on, loss_off = objective.losses(on, detached).to(inputs.dtype)
        ctx.gradients = ()
        if objective.wants_gradients:
            ctx.gradients = objective.gradients(detached, active, on)
        ctx.mark_non_differentiable(loss_on, loss_off)
        return loss_on + loss_off, loss_on, loss_off

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients by that of the total."""
        gradients = [None if g is None else g * outputs[0] for g in ctx.gradients]
        return (None, None, None, *gradients)
