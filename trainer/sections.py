"""The sections of a configuration: their keys, types and defaults, those of ``reference_3blob``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PositiveInt = Annotated[int, Meta(ge=1, le=10**12)]
PositiveFloat = Annotated[float, Meta(gt=0)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Device = Annotated[str, Meta(pattern=r"^(cpu|cuda(:\d+)?)$")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^./\x00][^/\x00]*$")]


class Section(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Base of the sections: immutable, unknown keys refused."""


class ModelConfig(Section, frozen=True, kw_only=True):
    """Section ``model``: the two-layer network.

    Attributes:
        hidden_size: Number of hidden units.
        encoder_initialization_scale: Factor on the Xavier-normal encoder weights.
        decoder_initialization_scale: Factor on the Xavier-normal decoder weights.
    """

    hidden_size: PositiveInt = 512
    encoder_initialization_scale: NonNegativeFloat = 0.03
    decoder_initialization_scale: NonNegativeFloat = 0.03


class TrainingConfig(Section, frozen=True, kw_only=True):
    """Section ``training``: how the network is trained and observed.

    Attributes:
        optimizer_type: ``adam`` or ``sgld`` (gradient step plus N(0, 2 lr temperature) noise).
        learning_rate: Step size.
        temperature: Temperature of ``sgld``; 0 is plain gradient descent.
        epochs: Number of epochs.
        batch_size: Samples per step; the last step of an epoch may have fewer.
        encoder_regularization: Weight of sum(W1^2) in the loss.
        decoder_regularization: Weight of sum(W2^2) in the loss.
        two_stage_training: Whether frozen encoders drawn from a mixture are trained afterwards.
        stage2_epochs: Epochs for each of them; null for ``epochs``.
        num_clusters: Components of that mixture.
        num_traces: Number of encoders drawn from it.
        enable_diagnostics: Whether each epoch's weights are analysed.
        diagnostic_sample_size: Weight pairs sampled for the diagnostics that work on a sample.
        save_epoch_checkpoints: Whether the weights of every epoch are kept.
        plain: Use the textbook form of the step even where another form of the same mathematics
            is faster.
        precision: Of the network's matrix products: ``float32``, or ``bf16`` with float32 weights,
            moments and sums, which changes the results a little.
    """

    optimizer_type: Literal["adam", "sgld"] = "adam"
    learning_rate: PositiveFloat = 0.02
    temperature: NonNegativeFloat = 0.0
    epochs: PositiveInt = 20
    batch_size: PositiveInt = 10000
    encoder_regularization: NonNegativeFloat = 0.0
    decoder_regularization: NonNegativeFloat = 0.03
    two_stage_training: bool = False
    stage2_epochs: PositiveInt | None = None
    num_clusters: PositiveInt = 3
    num_traces: PositiveInt = 1
    enable_diagnostics: bool = True
    diagnostic_sample_size: PositiveInt = 5000
    save_epoch_checkpoints: bool = False
    plain: bool = False
    precision: Literal["float32", "bf16"] = "float32"


class LossConfig(Section, frozen=True, kw_only=True):
    """Section ``loss``.

    Attributes:
        loss_type: ``scaled_mse`` or ``logistic``.
        lambda_on: Weight of the squared errors at the active coordinates.
    """

    loss_type: Literal["scaled_mse", "logistic"] = "scaled_mse"
    lambda_on: PositiveFloat = 16.0


class DataConfig(Section, frozen=True, kw_only=True):
    """Section ``data``: the sparse signals and where they are made.

    Attributes:
        d: Dimension of the signal.
        sparsity: Number of active coordinates of each signal.
        noise_variance: Variance of the Gaussian noise on the input.
        n_train: Fresh training samples an epoch.
        n_val: Validation samples.
        seed: Seed of weights and data.
        device: ``cpu``, ``cuda`` or ``cuda:N``; without a GPU, ``cuda`` falls back to ``cpu``.
    """

    d: PositiveInt = 1024
    sparsity: PositiveInt = 2
    noise_variance: NonNegativeFloat = 0.005
    n_train: PositiveInt = 300000
    n_val: PositiveInt = 5000
    seed: Seed = 42
    device: Device = "cuda"


class ExperimentConfig(Section, frozen=True, kw_only=True):
    """A whole configuration.

    Attributes:
        model: The network.
        training: How it is trained and observed.
        loss: What is minimised.
        data: The signals.
        diagnostics: Which diagnostics run: a list of names, or an object of name to options;
            ``default`` among them stands for the default ones, null for these alone.
        experiment_name: Name of the experiment and beginning of its folder's name.
        output_dir: Folder of the run; null for ``experiments/NAME_YYYYmmdd_HHMMSS``.
        save_model: Whether the final weights are written to ``model.pth``.
        save_plots: Whether pictures are drawn.
    """

    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    loss: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    diagnostics: dict[str, dict[str, Any]] | list[str] | None = None
    experiment_name: Name = "experiment"
    output_dir: str | None = None
    save_model: bool = True
    save_plots: bool = True


SECTIONS: dict[str, type[Section]] = {
    "model": ModelConfig,
    "training": TrainingConfig,
    "loss": LossConfig,
    "data": DataConfig,
}
