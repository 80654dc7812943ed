"""The two-layer denoising network. Shapes: B samples, d coordinates, ``hidden`` hidden units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.config import ExperimentConfig
from trainer.data import stream_seed


class TwoLayerNet(nn.Module):
    """``out = W2 tanh(W1 x + b1)^3 + b2``.

    Attributes:
        fc1: Encoder; weight W1 of shape (hidden, d), bias b1 of shape (hidden,).
        fc2: Decoder; weight W2 of shape (d, hidden), bias b2 of shape (d,).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        encoder_initialization_scale: float = 1.0,
        decoder_initialization_scale: float = 1.0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        """Initialise with scaled Xavier-normal weights (Glorot and Bengio, 2010), zero biases."""
        super().__init__()
        self.fc1 = nn.utils.skip_init(nn.Linear, input_size, hidden_size)
        self.fc2 = nn.utils.skip_init(nn.Linear, hidden_size, input_size)
        scales = encoder_initialization_scale, decoder_initialization_scale
        for layer, scale in zip((self.fc1, self.fc2), scales, strict=True):
            nn.init.xavier_normal_(layer.weight, gain=scale or 1.0, generator=generator)
            if scale == 0:
                nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the hidden activations of shape (B, hidden) for inputs of shape (B, d)."""
        activation = torch.tanh(self.fc1(inputs))
        return activation * activation * activation

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the reconstruction of shape (B, d) for inputs of shape (B, d)."""
        output: Tensor = self.fc2(self.hidden(inputs))
        return output


def new_model(config: ExperimentConfig, device: torch.device, stream: int = 0) -> TwoLayerNet:
    """Return a freshly initialised network, the same on every device for the same seed.

    Args:
        config: The configuration.
        device: Where the network shall live.
        stream: Number of the random stream, for further networks of the same run.
    """
    generator = torch.Generator().manual_seed(stream_seed(config.data.seed, "weights", stream))
    model = TwoLayerNet(
        config.data.d,
        config.model.hidden_size,
        config.model.encoder_initialization_scale,
        config.model.decoder_initialization_scale,
        generator=generator,
    )
    return model.to(device)
