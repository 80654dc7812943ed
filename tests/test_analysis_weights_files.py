from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from diagnostics.analysis.saved_weights import load_weights
from diagnostics.analysis.weights_files import WeightsFile, find_weights
from diagnostics.contract.errors import BlobwatchError, UnreadableFileError

RNG = np.random.default_rng(0)
ENCODER = RNG.normal(size=(3, 5)).astype(np.float32)
DECODER = RNG.normal(size=(5, 3)).astype(np.float32)


def state() -> dict[str, torch.Tensor]:
    return {
        "fc1.weight": torch.from_numpy(ENCODER),
        "fc1.bias": torch.arange(3.0),
        "fc2.weight": torch.from_numpy(DECODER),
        "fc2.bias": torch.arange(5.0),
    }


@pytest.mark.parametrize(
    "content",
    [
        state(),
        {"state_dict": state(), "epoch": 7},
        {"model": {f"module.{k}": v for k, v in state().items()}, "position": {"epoch": 8}},
        {"model_state_dict": {f"_orig_mod.module.{k}": v for k, v in state().items()}, "epoch": 7},
    ],
)
def test_weights_are_found_where_other_programs_put_them(
    tmp_path: Path, content: dict[str, object]
) -> None:
    torch.save(content, tmp_path / "any.pth")
    weights = load_weights(WeightsFile(tmp_path / "any.pth"))
    np.testing.assert_array_equal(weights.encoder, ENCODER)
    np.testing.assert_array_equal(weights.decoder, DECODER)
    assert weights.encoder_bias is not None
    assert weights.decoder_bias is not None
    assert weights.encoder_bias.tolist() == [0, 1, 2]
    assert weights.epoch == (None if "fc1.bias" in content else 7)


def test_bfloat16_weights_and_weights_with_gradients_are_read(tmp_path: Path) -> None:
    content = {k: torch.nn.Parameter(v.bfloat16()) for k, v in state().items()}
    torch.save(content, tmp_path / "half.pt")
    weights = load_weights(WeightsFile(tmp_path / "half.pt"))
    assert weights.encoder.dtype == np.float32
    np.testing.assert_allclose(weights.encoder, ENCODER, rtol=1e-2)


def test_npz_files_need_no_biases_and_may_hold_float64(tmp_path: Path) -> None:
    arrays = {"fc1.weight": ENCODER.astype(np.float64), "fc2.weight": DECODER}
    np.savez(tmp_path / "epoch_0012.npz", **arrays)
    (file,) = find_weights(tmp_path / "epoch_0012.npz")
    weights = load_weights(file)
    assert weights.epoch == 12
    assert weights.encoder_bias is None
    np.testing.assert_array_equal(weights.encoder, ENCODER)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"fc1.weight": Evil(), "fc2.weight": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    np.savez(tmp_path / "evil.npz", **{"fc1.weight": np.array([Evil()]), "fc2.weight": DECODER})
    for name in ("evil.pth", "evil.pkl", "evil.npz"):
        with pytest.raises(UnreadableFileError, match=name):
            load_weights(WeightsFile(tmp_path / name))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"fc1.weight": ENCODER}, "no fc2.weight"),
        ({"fc1.weight": ENCODER, "fc2.weight": ENCODER}, "must be"),
        ({"fc1.weight": ENCODER[:0], "fc2.weight": DECODER[:, :0]}, "no weights in it"),
        ({"fc1.weight": ENCODER + 1j, "fc2.weight": DECODER}, "real numbers"),
        ({"fc1.weight": ENCODER, "fc2.weight": DECODER, "fc1.bias": np.zeros(9)}, "biases"),
    ],
)
def test_files_without_fitting_weights_are_refused_in_one_line(
    tmp_path: Path, arrays: dict[str, np.ndarray], said: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UnreadableFileError, match=said) as caught:
        load_weights(WeightsFile(tmp_path / "bad.npz"))
    assert "\n" not in str(caught.value)


def test_random_bytes_and_empty_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for name, data in (("noise.pth", RNG.bytes(500)), ("empty.npz", b""), ("text.pth", b"hello")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableFileError, match=name) as caught:
            load_weights(WeightsFile(tmp_path / name))
        assert str(caught.value).endswith(("it is empty", "as torch.save writes them"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    for epoch in (1, 2, 10):
        torch.save(state(), tmp_path / "checkpoints" / f"epoch_{epoch:04d}.pth")
    torch.save(state(), tmp_path / "checkpoints" / "trace_00_epoch_0001.pth")
    return tmp_path


def test_epochs_are_chosen_by_number_all_or_last(run: Path) -> None:
    def epochs(which: str) -> list[int | None]:
        return [file.epoch for file in find_weights(run, which)]

    assert epochs("all") == [1, 2, 10]
    assert epochs("10,1") == [1, 10]
    assert epochs("last") == [10]
    torch.save(state(), run / "model.pth")
    (run / "results.json").write_text('{"final_metrics": {}, "training_history": [{"epoch": 20}]}')
    assert find_weights(run, "last") == [WeightsFile(run / "model.pth", 20)]


@pytest.mark.parametrize(
    ("which", "said"), [("3", "epoch 3 is not saved; there are 1 to 10"), ("x", "accepted are")]
)
def test_epochs_that_are_not_there_are_named(run: Path, which: str, said: str) -> None:
    with pytest.raises(BlobwatchError, match=said):
        find_weights(run, which)


def test_a_folder_without_weights_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BlobwatchError, match=r"no model\.pth, no checkpoint\.pt"):
        find_weights(tmp_path)
    with pytest.raises(BlobwatchError, match="save_epoch_checkpoints"):
        find_weights(tmp_path, "all")
