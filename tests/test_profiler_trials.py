import contextlib
import copy
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from diagnostics.contract import trials as messages
from profiler.api import profile_batch_sizes
from profiler.backend import ProcessBackend, RealTrial, project_root
from profiler.plan import trial_config
from profiler.profiles import lacked_memory
from profiler.settings import Settings
from profiler.status import TrialFailure
from profiler.trial import new_trial
from trainer.config import create_config, load_config

TINY = {
    "d": 16, "hidden_size": 8, "n_train": 400, "n_val": 50, "batch_size": 100, "device": "cpu",
}  # fmt: skip
FAST = Settings(windows_s=0.2, busy_windows_s=0.2, threads=1, pictures=False)


@pytest.fixture
def trial():
    made = new_trial(ProcessBackend(1), load_config("quick_3blob", TINY), 100, "constant", 60)
    yield made
    made.process.close()


@contextlib.contextmanager
def nothing_else_touched(config, tmp_path, monkeypatch):
    """Work in ``tmp_path``; afterwards only the report is new, and the caller is as it was."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = copy.deepcopy(config), dict(os.environ), random.getstate(), Path.cwd()
    threads = threading.active_count()
    yield
    assert (config, dict(os.environ), random.getstate(), Path.cwd()) == before
    assert threading.active_count() == threads
    assert not psutil.Process().children(recursive=True)
    assert not list(temporary.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"x.md", "x.json", "temporary"}


def test_profiling_through_the_api_leaves_nothing_behind_and_the_caller_as_it_was(
    tmp_path, monkeypatch
):
    config = create_config("quick_3blob", **TINY)
    with nothing_else_touched(config, tmp_path, monkeypatch):
        results = profile_batch_sizes(
            config, batch_sizes=[50, 100], test_epochs=2, output_path="x.md", settings=FAST
        )
    for profile, size in zip(results, (50, 100), strict=True):
        assert profile.batch_size == size
        assert profile.epochs_completed == 2
        assert profile.samples_per_second > 0
        assert profile.avg_time_per_epoch == pytest.approx(400 / profile.samples_per_second)
        assert profile.peak_gpu_memory_gb is None
        assert 0.05 < profile.peak_host_memory_gb < 4
        assert profile.final_train_loss > 0
        assert profile.final_test_loss > 0
        assert not profile.oom_error
        assert profile.error_message is None
    text = (tmp_path / "x.md").read_text()
    assert text.startswith("# Batch Size Profile: d=16, hidden=8\n")
    assert "**Optimal batch size: " in text
    assert "CPU Memory" in text


@pytest.mark.slow
def test_a_real_out_of_memory_stops_no_other_size_and_leaves_nothing_behind(tmp_path, monkeypatch):
    # 800 MB of inputs against what a budget of 500 MB lets an address space grow.
    config = create_config("quick_3blob", **{**TINY, "d": 2000, "n_train": 100_000})
    settings = replace(FAST, memory_budget_bytes=500_000_000, try_oversized=True)
    with nothing_else_touched(config, tmp_path, monkeypatch):
        small, large = profile_batch_sizes(
            config, [2000, 100_000], test_epochs=1, output_path="x.md", settings=settings
        )
    assert small.status == "completed"
    assert (large.status, large.oom_error) == ("out_of_memory", True)
    assert "memory" in large.error_message
    assert large.final_train_loss is None
    assert large.final_test_loss is None
    assert "OUT OF MEMORY" in (tmp_path / "x.md").read_text()


def test_the_losses_of_a_trial_are_those_of_the_trainer(trial):
    import torch

    from trainer.data import SignalSource
    from trainer.loop import evaluate, take_step
    from trainer.model import new_model
    from trainer.objective import new_objective
    from trainer.optimizers import new_optimizer
    from trainer.run import Run

    config = load_config("quick_3blob", TINY)
    trial.prepare(config, "cpu", FAST, None)
    trial.train(2, FAST)
    cpu = torch.device("cpu")
    model = new_model(config, cpu)
    run = Run(config, None, "x", 0, cpu, model, new_optimizer(config, model))
    objective = new_objective(config)
    source = SignalSource(config.data, 400, 100, "train", cpu)
    for epoch in (1, 2):
        for step in range(4):
            take_step(run, objective, source.batch(epoch, step))
    validation = SignalSource(config.data, 50, 50, "validation", cpu)
    expected = evaluate(run, validation, objective)["scaled_loss"]
    assert trial.record.epochs[-1].test_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_peak_memory_and_its_limit_are_those_of_training_without_the_instruments(trial):
    # 60,000 samples of 1,000 coordinates for the gradient noise: 240 MB, several times over.
    config = load_config("quick_3blob", {**TINY, "d": 1000})
    trial.prepare(config, "cpu", FAST, 400_000_000)
    before = trial.record.memory.peak_bytes
    trial.train(2, replace(FAST, noise_samples=60_000))
    assert trial.record.epochs[-1].noise
    assert trial.record.memory.peak_bytes - before < 60_000_000


def test_where_the_kernel_keeps_its_peak_what_was_known_before_the_instruments_stands(monkeypatch):
    import torch

    from trainer.trial import occupancy

    peaks = iter([100, 900])
    monkeypatch.setattr(
        occupancy, "memory_used", lambda _: messages.MemoryUsed(peak_bytes=next(peaks))
    )
    monkeypatch.setattr(occupancy, "_start_peaks_anew", lambda _: False)
    meter = occupancy.PeakMeter(torch.device("cpu"))
    with meter.excluded():
        pass
    assert meter.read().peak_bytes == 100


def test_an_address_space_limit_makes_a_real_out_of_memory(trial):
    config = load_config("quick_3blob", {**TINY, "d": 2000, "n_train": 400_000, "sparsity": 2})
    trial.record.batch_size = 400_000
    with pytest.raises(TrialFailure) as caught:
        trial.prepare(config, "cpu", FAST, 200_000_000)
    assert caught.value.status == "out_of_memory"
    assert "memory" in caught.value.message


def test_a_killed_trial_is_called_killed(trial):
    process = trial.process
    assert isinstance(process, RealTrial)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(TrialFailure) as caught:
        trial.prepare(load_config("quick_3blob", TINY), "cpu", FAST, None)
    assert caught.value.status == "killed"
    assert "SIGKILL" in caught.value.message
    assert "count of out-of-memory kills" in caught.value.message


@pytest.mark.parametrize(
    ("before", "after", "proof"),
    [(3, 4, "rose"), (3, 3, "did not rise"), (None, 3, "is not known"), (3, None, "is not known")],
)
def test_a_kill_is_blamed_on_the_lack_of_memory_only_where_the_kernel_counted_one(
    before, after, proof, monkeypatch
):
    counts = iter([before, after])
    monkeypatch.setattr("profiler.contention.kernel_kills", lambda: next(counts))
    made = new_trial(ProcessBackend(1), load_config("quick_3blob", TINY), 100, "constant", 60)
    with contextlib.closing(made.process):
        os.kill(made.process.pid, signal.SIGKILL)
        with pytest.raises(TrialFailure) as caught:
            made.one(messages.MeasureMemory())
    made.fail(caught.value)
    assert proof in made.record.error_message
    assert lacked_memory(made.record) == (proof == "rose")


def test_a_hanging_trial_times_out_and_is_gone(trial):
    process = trial.process
    os.kill(process.pid, signal.SIGSTOP)
    trial.timeout_s = 0.3
    with pytest.raises(TrialFailure) as caught:
        trial.prepare(load_config("quick_3blob", TINY), "cpu", FAST, None)
    assert caught.value.status == "timed_out"
    assert not psutil.pid_exists(process.pid)


def test_the_timeout_bounds_the_whole_trial_even_where_every_answer_comes_in_time(trial):
    trial.prepare(load_config("quick_3blob", TINY), "cpu", FAST, None)
    trial.timeout_s = trial.spent_s + 1.0
    with pytest.raises(TrialFailure) as caught:
        trial.train(10**9, FAST)
    assert caught.value.status == "timed_out"
    assert "--timeout" in caught.value.message
    assert len(trial.record.epochs) > 1
    assert not psutil.pid_exists(trial.process.pid)


@pytest.mark.parametrize(
    "overrides",
    [{"batch_size": 400}, {"plain": True}, {"optimizer_type": "sgld"}, {"loss_type": "logistic"}],
)
def test_the_parts_of_a_step_are_timed_whatever_its_form(overrides):
    from trainer.objective import has_gram_form
    from trainer.trial.subject import Subject
    from trainer.trial.timing import time_phases

    config = load_config("quick_3blob", {**TINY, "d": 64, **overrides})
    gram = {"optimizer_type", "batch_size"} & set(overrides)
    assert has_gram_form(config) == bool(gram)
    found = time_phases(Subject(config), 5)
    assert min(found.data_s, found.forward_s, found.optimizer_s) > 0
    assert found.backward_s >= 0
    assert found.optimizer_s < found.step_s
    plain = 10 * config.training.batch_size * config.data.d * config.model.hidden_size
    assert (found.step_operations < plain) == bool(gram)


def test_a_crash_is_reported_with_its_last_error_line(trial):
    with pytest.raises(TrialFailure) as caught:
        trial.one(messages.Prepare(config={"training": {"batch_sze": 3}}))
    assert caught.value.status == "crashed"
    assert "batch_sze" in caught.value.message


def test_a_learning_rate_without_measure_diverges_and_is_called_so(trial):
    config = load_config("quick_3blob", {**TINY, "optimizer_type": "sgld", "learning_rate": 1e30})
    trial.record.learning_rate = 1e30
    trial.prepare(config, "cpu", FAST, None)
    with pytest.raises(TrialFailure) as caught:
        trial.train(5, FAST)
    assert caught.value.status == "diverged"


@pytest.fixture
def ctrl_c_raises():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_ctrl_c_while_a_process_is_being_started_leaves_no_process(monkeypatch, ctrl_c_raises):
    started = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("subprocess.Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        ProcessBackend(1).start()
    assert not psutil.pid_exists(started[0])


def test_a_trial_ends_when_its_profiler_is_gone(tmp_path):
    config = json.dumps(trial_config(load_config("quick_3blob", TINY), 100, "cpu"))
    code = (
        "import json, os, sys, time\n"
        "from profiler.backend import ProcessBackend\n"
        "from diagnostics.contract.trials import Prepare, TrainEpochs\n"
        "t = ProcessBackend(1).start()\n"
        f"next(t.ask(Prepare(config=json.loads({config!r})), 60))\n"
        "print(t.pid, flush=True)\n"
        "next(t.ask(TrainEpochs(n_epochs=100000000, learning_rate=0.01), 60))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=project_root(),
        timeout=100,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert not list(tmp_path.iterdir()), "a temporary file outlived the profiler"
    pid = int(done.stdout)
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("the trial outlived its profiler")
