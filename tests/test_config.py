from __future__ import annotations

import copy
import json
from pathlib import Path

import msgspec
import pytest

from trainer.config import (
    ConfigError,
    ExperimentConfig,
    create_config,
    load_config,
    preset_names,
    to_nested,
)


def problems(source: object, overrides: dict[str, object] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides)  # type: ignore[arg-type]
    return str(caught.value).splitlines()


def test_every_preset_is_valid_and_complete() -> None:
    assert preset_names() == ["diagnostic_demo", "quick_3blob", "reference_3blob"]
    for name in preset_names():
        config = create_config(name)
        assert set(config) >= {"model", "training", "loss", "data", "experiment_name"}
        assert config["experiment_name"] == name


def test_the_reference_preset_has_the_published_values() -> None:
    config = create_config("reference_3blob")
    assert config["model"]["hidden_size"] == 512
    assert config["data"]["d"] == 1024
    assert config["data"]["noise_variance"] == 0.005
    assert config["training"]["batch_size"] == 10000
    assert config["training"]["decoder_regularization"] == 0.03
    assert config["loss"] == {"loss_type": "scaled_mse", "lambda_on": 16.0}


def test_the_defaults_are_those_of_the_reference_preset() -> None:
    reference = create_config("reference_3blob") | {"experiment_name": "experiment"}
    assert to_nested(ExperimentConfig()) == reference


def test_all_problems_are_reported_at_once_each_with_key_value_and_remedy() -> None:
    lines = problems(
        {
            "training": {"batch_sze": 3, "batch_size": 0, "learning_rate": float("nan"), "d": 3},
            "data": {"device": "tpu", "seed": -1, "sparsity": 2000},
            "epochs": 3,
            "save_plots": "yes",
        }
    )
    text = "\n".join(lines)
    assert len(lines) == 9
    assert "training.batch_sze: unknown key; did you mean batch_size?" in text
    assert "training.batch_size: got 0; must be a whole number >= 1" in text
    assert "training.learning_rate: got NaN; must be a finite number" in text
    assert "training.d: unknown key; it belongs to data.d" in text
    assert "data.device: got \"tpu\"; must be 'cpu', 'cuda' or 'cuda:N'" in text
    assert "data.seed: got -1; must be a whole number >= 0" in text
    assert "epochs: unknown key; it belongs to training.epochs" in text
    assert 'save_plots: got "yes"; must be true or false' in text
    assert "data.sparsity: got 2000; must be at most data.d (1024)" in text


def test_a_wrong_value_is_not_blamed_on_those_it_is_compared_with() -> None:
    wrong = {"training": {"optimizer_type": "sgd", "temperature": 1}, "data": {"d": "many"}}
    wrong["data"]["sparsity"] = 2000
    assert [line.split(": ")[1] for line in problems(wrong)] == [
        "training.optimizer_type",
        "data.d",
    ]


def test_a_problem_names_the_file_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"data": {"sparsity": 3000}}')
    assert problems(path) == [f"{path}: data.sparsity: got 3000; must be at most data.d (1024)"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object, got list"),
        ('{"data": 3}', "data: got 3; must be an object with keys and values"),
        ('{"data": {"d": 4, "d": 5}}', "repeated key: d"),
        ('{"data": {"noise_variance": NaN}}', "data.noise_variance: got NaN"),
        ('{"data": {"noise_variance": 1e999}}', "data.noise_variance: got Infinity"),
        ('{"data": {"d": true}}', "data.d: got true; must be a whole number >= 1"),
        ('{"experiment_name": "a/b"}', "without '/'"),
        ('{"experiment_name": "\\ud800"}', "experiment_name"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_broken_file_gets_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    lines = problems(path)
    assert len(lines) == 1
    assert str(path) in lines[0]
    assert says in lines[0]


def test_a_missing_file_names_the_presets(tmp_path: Path) -> None:
    assert "quick_3blob" in problems(tmp_path / "nope.json")[0]


def test_overrides_take_bare_and_dotted_keys_and_win() -> None:
    config = create_config("quick_3blob", epochs=5, **{"data.seed": 7})
    assert config["training"]["epochs"] == 5
    assert config["data"]["seed"] == 7


def test_an_unknown_override_names_near_ones() -> None:
    assert "did you mean epochs?" in problems("quick_3blob", {"epoch": 3})[0]


def test_the_callers_configuration_is_never_changed() -> None:
    mine = create_config("quick_3blob")
    before = copy.deepcopy(mine)
    create_config(mine, epochs=99)
    load_config(mine, {"data.d": 8, "diagnostics": ["blob_structure"]})
    assert mine == before


def test_dict_typed_object_path_and_preset_give_the_same_configuration(tmp_path: Path) -> None:
    nested = create_config("quick_3blob")
    path = tmp_path / "c.json"
    path.write_text(json.dumps(nested))
    typed = load_config(nested)
    assert load_config(typed) == load_config(path) == load_config("quick_3blob") == typed
    assert msgspec.to_builtins(typed) == nested


def test_a_section_in_an_override_is_checked_not_passed_over() -> None:
    with pytest.raises(ConfigError, match="training: got 5; must be an object with keys"):
        load_config("quick_3blob", {"training": 5})
    config = load_config("quick_3blob", {"training": {"epochs": 3}})
    assert config.training.epochs == 3


def test_a_wrong_override_is_not_blamed_on_the_file() -> None:
    with pytest.raises(ConfigError, match=r"^override: training\.learning_rate: got -1; must be"):
        load_config("quick_3blob", {"learning_rate": -1})
    with pytest.raises(ConfigError, match=r"^override: training\.epohcs: unknown key"):
        load_config("quick_3blob", {"training.epohcs": 3})
