"""What holds on a CUDA GPU; skipped without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer import create_config, run_experiment
from trainer.config import load_config
from trainer.data import Batch
from trainer.hooks import Hook
from trainer.interruption import Interruption
from trainer.loop import train_epoch
from trainer.run import Run
from trainer.trial.subject import Subject

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICE = "cuda"
SMALL = {"n_train": 20_000, "n_val": 1_000, "save_plots": False}


class NoWaiting(Hook):
    """Lets PyTorch raise at whatever waits for the GPU, from the first step to the last one."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps = n_steps
        self.n_seen = 0

    def batch_ended(self, run: Run) -> None:
        self.n_seen += 1
        torch.cuda.set_sync_debug_mode("error" if self.n_seen < self.n_steps else "default")


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_no_step_of_an_epoch_waits_for_the_gpu(plain: bool, precision: str) -> None:
    options = {**SMALL, "plain": plain, "precision": precision}
    subject = Subject(load_config(create_config("quick_3blob", device=DEVICE, **options)))
    source = subject.source()
    hook = NoWaiting(source.n_batches)
    try:
        with Interruption() as stop:
            assert train_epoch(subject.run, source, subject.objective, hook, stop)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert hook.n_seen == source.n_batches > 2


def test_a_step_on_the_gpu_has_the_losses_and_gradients_of_the_cpu() -> None:
    there, here = (
        Subject(load_config(create_config("quick_3blob", device=device, **SMALL)))
        for device in (DEVICE, "cpu")
    )
    there.run.model.load_state_dict(here.run.model.state_dict())
    batch = here.source().batch(1, 0)
    moved = Batch(batch.inputs.to(DEVICE), batch.active.to(DEVICE))
    for subject, mine in ((here, batch), (there, moved)):
        subject.objective(subject.run.model, mine)[0].backward()
    pairs = zip(here.run.model.parameters(), there.run.model.parameters(), strict=True)
    for mine, theirs in pairs:
        assert mine.grad is not None and theirs.grad is not None
        error = (mine.grad - theirs.grad.cpu()).abs().max()
        assert error <= 1e-4 * mine.grad.abs().max()


def test_a_run_on_the_gpu_is_diagnosed_at_every_epoch(tmp_path: Path) -> None:
    config = create_config("quick_3blob", device=DEVICE, epochs=4, **SMALL)
    config["output_dir"] = str(tmp_path / "run")
    results = run_experiment(config, "gpu")
    assert results["status"] == "completed"
    history = results["training_history"]
    assert [entry["diagnostics"]["n_blobs"] for entry in history] == [1, 1, 1, 1]
    assert history[-1]["test"]["scaled_loss"] < history[0]["test"]["scaled_loss"]
