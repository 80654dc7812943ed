"""Two-stage training: frozen encoders drawn from a mixture of stage one's."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from diagnostics.contract.events import TraceStarted, decode_event
from diagnostics.contract.journal import read_journal
from tests.conftest import epochs_of, long_epochs_config, run, start, strict_json, wait_for
from trainer.mixture import Mixture, fit_mixture

Write = Callable[..., Path]
TWO_STAGES = {"two_stage_training": True, "num_traces": 2, "stage2_epochs": 2}


def test_a_mixture_with_blobs_of_one_percent_is_recovered() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = Mixture(shares=(0.01, 0.98, 0.01), means=(-1.3, 0.0, 1.4), stds=(0.1, 0.08, 0.15))
    found = fit_mixture(truth.draw((512, 1024), generator), 3)
    np.testing.assert_allclose(found.shares, truth.shares, rtol=0.03)
    np.testing.assert_allclose(found.means, truth.means, atol=0.01)
    np.testing.assert_allclose(found.stds, truth.stds, rtol=0.05)


def test_one_component_has_the_moments_of_the_values() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 2 + 5
    (share,), (mean,), (std,) = (
        (m := fit_mixture(values, 1)).shares,
        m.means,
        m.stds,
    )
    assert share == 1.0
    assert mean == pytest.approx(values.mean().item(), abs=1e-3)
    assert std == pytest.approx(values.std(correction=0).item(), rel=1e-3)


def test_degenerate_values_are_defined() -> None:
    assert fit_mixture(torch.full((9,), 3.0), 3) == Mixture(
        shares=(1.0,), means=(3.0,), stds=(0.0,)
    )
    assert len(fit_mixture(torch.tensor([0.0, 1.0]), 5).means) == 2
    with pytest.raises(ValueError, match="not finite"):
        fit_mixture(torch.tensor([float("nan")]), 2)


def load(path: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return weights


@pytest.mark.slow
def test_each_trace_has_a_frozen_encoder_and_its_history_in_the_results(
    tmp_path: Path, write_config: Write
) -> None:
    folder = tmp_path / "run"
    config = write_config(**TWO_STAGES)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"save_plots": True}))
    status, out, err = run("trainer", config, "--output-dir", folder, cwd=tmp_path)
    assert (status, err) == (0, "")
    assert "trace 0 epoch 1/2" in out and "trace 1 epoch 2/2" in out and "trace 2" not in out
    results = strict_json(folder / "results.json")
    assert epochs_of(results) == [1, 2, 3]
    assert results["final_metrics"]["epoch"] == 3
    assert len(results["stage2"]["mixture"]["means"]) == 3
    traces = results["stage2"]["traces"]
    assert [trace["trace"] for trace in traces] == [0, 1]
    for trace in traces:
        assert epochs_of(trace) == [1, 2]
        assert all("n_blobs" in entry["diagnostics"] for entry in trace["training_history"])
        last, stage1 = trace["training_history"][-1], results["training_history"][-1]
        assert trace["comparison"]["test_scaled_loss"] == last["test"]["scaled_loss"]
        assert trace["comparison"]["ratio"] == pytest.approx(
            last["test"]["scaled_loss"] / stage1["test"]["scaled_loss"]
        )
    assert (folder / "stage2_traces.png").stat().st_size > 10_000
    first, second = load(folder / "trace_00.pth"), load(folder / "trace_01.pth")
    assert not torch.equal(first["fc1.weight"], second["fc1.weight"])
    assert not torch.equal(first["fc1.weight"], load(folder / "model.pth")["fc1.weight"])


@pytest.mark.parametrize("trace", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_killed_in_stage_two_continues_bit_for_bit(tmp_path: Path, trace: int) -> None:
    settings = long_epochs_config(**TWO_STAGES | {"epochs": 2, "stage2_epochs": 30})
    config = tmp_path / "config.json"
    config.write_text(json.dumps(settings))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run("trainer", config, "--output-dir", whole, "--quiet", cwd=tmp_path)[0] == 0
    process = start("trainer", config, "--output-dir", killed, "--quiet", cwd=tmp_path)

    def begun() -> bool:
        # The journal, since the results may be some seconds behind it.
        records = read_journal(killed / "events.log").payloads
        starts = [e for e in map(decode_event, records) if isinstance(e, TraceStarted)]
        return any(start.trace == trace for start in starts)

    wait_for(begun)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert run("trainer", "--resume", killed, "--quiet", cwd=tmp_path)[0] == 0
    for name in ("model.pth", "trace_00.pth", "trace_01.pth"):
        one, other = load(killed / name), load(whole / name)
        assert all(torch.equal(one[key], other[key]) for key in one)

    traces = strict_json(killed / "results.json")["stage2"]["traces"]
    assert [epochs_of(trace) for trace in traces] == [list(range(1, 31))] * 2
