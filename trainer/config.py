"""The configuration of an experiment: typed sections, defaults, presets, validation.

The defaults are those of the preset ``reference_3blob``. A configuration is accepted as a nested
dict, an `ExperimentConfig` or a path, and is never changed by the functions that take it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from trainer.config_files import config_path as config_path
from trainer.config_files import preset_names as preset_names
from trainer.config_files import read_config
from trainer.validation import ConfigError as ConfigError
from trainer.validation import Problem, check_section, unknown_keys

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
ConfigLike = Mapping[str, Any] | ExperimentConfig | Path | str


def load_config(source: ConfigLike, overrides: Mapping[str, Any] | None = None) -> ExperimentConfig:
    """Read, complete and validate a configuration.

    Args:
        source: A nested dict, a typed configuration, a path, the name of a preset, or ``-`` for
            standard input.
        overrides: Values by dotted or bare key, applied last.

    Raises:
        ConfigError: With one line for every problem: file, key, value, what is accepted.
    """
    nested, origin = read_nested(source)
    problems = apply_overrides(nested, overrides or {})
    return validate(nested, origin, problems)


def read_nested(source: ConfigLike) -> tuple[dict[str, Any], str]:
    """Return a configuration as a fresh nested dict, not yet validated, and where it is from."""
    if isinstance(source, ExperimentConfig):
        return msgspec.to_builtins(source), "configuration"
    if isinstance(source, Mapping):
        return _copy(source), "configuration"
    return read_config(source)


def validate(
    nested: Mapping[str, Any], origin: str, problems: list[Problem] | None = None
) -> ExperimentConfig:
    """Turn a nested dict into a typed configuration, or report ALL of its problems at once.

    Raises:
        ConfigError: See `load_config`.
    """
    found = list(problems or [])
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        values = nested.get(name, {})
        if not isinstance(values, Mapping):
            found.append(Problem(name, values, "an object with keys and values"))
            continue
        found += unknown_keys(values, kind, f"{name}.", elsewhere=_places())
        sections[name] = check_section(values, kind, f"{name}.", found)
    found += unknown_keys(nested, ExperimentConfig, "", elsewhere=_places())
    top = {key: value for key, value in nested.items() if key not in SECTIONS}
    rest = check_section(top, ExperimentConfig, "", found)
    config = ExperimentConfig(
        **{n: kind(**sections.get(n, {})) for n, kind in SECTIONS.items()},  # type: ignore[arg-type]
        **rest,
    )
    found += _impossible(config, wrong={problem.key for problem in found})
    if found:
        raise ConfigError("\n".join(problem.line(origin) for problem in found))
    return config


def _impossible(config: ExperimentConfig, wrong: Set[str]) -> list[Problem]:
    """Return the values that are fine alone but not together; keys that are wrong have defaults."""
    data, training = config.data, config.training
    found = []
    if data.sparsity > data.d and wrong.isdisjoint({"data.d", "data.sparsity"}):
        found.append(Problem("data.sparsity", data.sparsity, f"at most data.d ({data.d})"))
    is_sgld = training.optimizer_type == "sgld" or "training.optimizer_type" in wrong
    if training.temperature > 0 and not is_sgld:
        found.append(
            Problem("training.temperature", training.temperature, "0 unless optimizer_type is sgld")
        )
    for key, text in (
        ("experiment_name", config.experiment_name),
        ("output_dir", config.output_dir),
    ):
        if text is not None and not _is_file_name(text):
            found.append(Problem(key, text, "a text that a file name can hold"))
    return found


def apply_overrides(nested: dict[str, Any], overrides: Mapping[str, Any]) -> list[Problem]:
    """Set values in ``nested`` by dotted (``training.epochs``) or bare (``epochs``) key."""
    problems = []
    places = _places()
    for key, value in overrides.items():
        if key in SECTIONS:
            nested[key] = value
            continue
        section, dot, name = key.rpartition(".")
        if not dot and key in places:
            section = places[key]
        if (section and section not in SECTIONS) or (not section and name not in places):
            problems += unknown_keys({key: value}, ExperimentConfig, "", elsewhere=places)
        elif section:
            inner = nested.setdefault(section, {})
            if isinstance(inner, dict):
                inner[name] = value
        else:
            nested[name] = value
    return problems


def _places() -> dict[str, str]:
    """Return the section of every key; the empty string for those at the top."""
    places = {name: "" for name in ExperimentConfig.__struct_fields__ if name not in SECTIONS}
    for section, kind in SECTIONS.items():
        places |= dict.fromkeys(kind.__struct_fields__, section)
    return places


def to_nested(config: ExperimentConfig) -> dict[str, Any]:
    """Return the complete configuration as a plain nested dict that may be edited."""
    nested: dict[str, Any] = msgspec.to_builtins(config)
    return nested


def create_config(base: ConfigLike = "reference_3blob", **overrides: Any) -> dict[str, Any]:
    """Return a complete, valid configuration as a plain nested dict that may be edited.

    Args:
        base: Name of a preset, a path, a dict or a typed configuration (left unchanged).
        **overrides: Values by bare key (``epochs=5``) or, in a dict passed with ``**``, dotted
            key (``"training.epochs"``).

    Raises:
        ConfigError: An unknown key (the message names near ones) or an impossible value.
    """
    return to_nested(load_config(base, overrides))


def _is_file_name(text: str) -> bool:
    try:
        return "\x00" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
