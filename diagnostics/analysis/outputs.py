"""What a saved network answers to fresh data, in NumPy.

Shapes: n samples, ``hidden`` hidden units, ``d`` coordinates, k active ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnostics.analysis.saved_weights import SavedWeights

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """Outputs on fresh data, the target being 1 at active coordinates and 0 at all others.

    Attributes:
        active: At active coordinates, float32 of shape (n * k,).
        inactive: At all others, float32 of shape (n * (d - k),).
    """

    active: Floats
    inactive: Floats


def network_outputs(
    weights: SavedWeights,
    *,
    sparsity: int,
    noise_variance: float,
    n_samples: int = 1000,
    seed: int = 0,
) -> NetworkOutputs:
    """Run ``W2 tanh(W1 x + b1)^3 + b2`` on sparse signals with Gaussian noise.

    Args:
        weights: The network; biases that the file lacks are zero.
        sparsity: Ones of a signal, at distinct uniform positions.
        noise_variance: Variance of the noise on every coordinate.
        n_samples: Number of signals.
        seed: Seed of the data.

    Raises:
        ValueError: There are more ones than coordinates.
    """
    n_inputs = weights.encoder.shape[1]
    if not 0 <= sparsity <= n_inputs:
        raise ValueError(f"sparsity: got {sparsity}; accepted: 0 to {n_inputs}")
    rng = np.random.default_rng(seed)
    # The k smallest of d random keys are at a uniform set of k positions.
    keys = rng.random((n_samples, n_inputs), dtype=np.float32)
    is_active = np.zeros((n_samples, n_inputs), bool)
    if sparsity:
        chosen = np.argpartition(keys, sparsity - 1, axis=1)[:, :sparsity]
        np.put_along_axis(is_active, chosen, True, axis=1)
    inputs = rng.standard_normal((n_samples, n_inputs), dtype=np.float32)
    inputs *= np.float32(noise_variance**0.5)
    inputs += is_active
    before = inputs @ weights.encoder.T
    if weights.encoder_bias is not None:
        before += weights.encoder_bias
    outputs = np.tanh(before) ** 3 @ weights.decoder.T
    if weights.decoder_bias is not None:
        outputs += weights.decoder_bias
    return NetworkOutputs(outputs[is_active], outputs[~is_active])
