"""The configuration of an experiment: read, overridden, completed, validated.

A configuration is accepted as a nested dict, an `ExperimentConfig` or a path, and is never changed
by the functions that take it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import msgspec

from trainer.config_files import config_path as config_path
from trainer.config_files import preset_names as preset_names
from trainer.config_files import read_config
from trainer.sections import SECTIONS as SECTIONS
from trainer.sections import DataConfig as DataConfig
from trainer.sections import ExperimentConfig as ExperimentConfig
from trainer.sections import LossConfig as LossConfig
from trainer.validation import ConfigError as ConfigError
from trainer.validation import Problem, check_section, unknown_keys

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
    places = _places()
    given = {f"{places[key]}.{key}" if places.get(key) else key for key in overrides or {}}
    return validate(nested, origin, problems, given)


def read_nested(source: ConfigLike) -> tuple[dict[str, Any], str]:
    """Return a configuration as a fresh nested dict, not yet validated, and where it is from."""
    if isinstance(source, ExperimentConfig):
        return msgspec.to_builtins(source), "configuration"
    if isinstance(source, Mapping):
        return _copy(source), "configuration"
    return read_config(source)


def validate(
    nested: Mapping[str, Any],
    origin: str,
    problems: list[Problem] | None = None,
    overridden: Set[str] = frozenset(),
) -> ExperimentConfig:
    """Turn a nested dict into a typed configuration, or report ALL of its problems at once.

    Args:
        nested: The configuration.
        origin: Where it is from.
        problems: What is known to be wrong already.
        overridden: Dotted keys whose values are not from there.

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
        origins = ["override" if problem.key in overridden else origin for problem in found]
        raise ConfigError("\n".join(map(Problem.line, found, origins)))
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
