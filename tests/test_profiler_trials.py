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
from diagnostics.contract.errors import BlobwatchError
from profiler.api import Profile, profile_batch_sizes
from profiler.backend import ProcessBackend, RealTrial, project_root
from profiler.plan import trial_config
from profiler.profiles import lacked_memory
from profiler.settings import Settings
from profiler.status import TrialFailure
from profiler.trial import new_trial
from trainer.config import config_path, create_config, load_config

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


def test_the_peak_memory_is_that_of_training_without_the_instruments(trial):
    # 40,000 samples of 1,000 coordinates for the gradient noise: 160 MB, several times over.
    config = load_config("quick_3blob", {**TINY, "d": 1000})
    trial.prepare(config, "cpu", FAST, None)
    before = trial.record.memory.peak_bytes
    trial.train(2, replace(FAST, noise_samples=40_000))
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


def command(*arguments, cwd, **options):
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "profiler", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=200, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing.json"], "nothing.json: cannot read"),
        (["quick_3blob", "--batch-sizes", "0"], "0 is below 1"),
        (["quick_3blob", "--batch-sizes", "9", "9"], "9 is given 2 times"),
        (["quick_3blob", "--batch-sizes", "100001"], "more than data.n_train (100000)"),
        (["quick_3blob", "--batch-sizes", "x"], "--batch-sizes x: must be a whole number"),
        (["quick_3blob", "--epochs", "0"], "epochs: got 0; must be a whole number >= 1"),
        (["quick_3blob", "--output", "no/such/folder.md"], "there is no folder"),
        (["quick_3blob", "--output", "x.json"], "the report is Markdown"),
        (["quick_3blob", "--to-loss", "nan"], "--to-loss nan: must be a number above 0"),
        (["quick_3blob", "--memory-budget", "-1"], "--memory-budget -1: must be a number above 0"),
        (["quick_3blob", "--device", "tpu"], "data.device"),
    ],
)
def test_bad_input_gets_one_clear_line_and_status_2(
    arguments, complaint, capsys, tmp_path, monkeypatch
):
    from profiler.command import main

    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["mine.json", "--output", "mine.md"],
        ["quick_3blob", "--output", "r.md", "--write-config", "r.json"],
        ["quick_3blob", "--output", "r.md", "--write-config", "r.md"],
        ["mine.json", "--output", "r.md", "--write-config", "mine.json"],
        ["mine.json", "--output", "r.md", "--write-config", "./here/../mine.json"],
    ],
)
def test_a_report_never_replaces_a_configuration(arguments, tmp_path, monkeypatch, capsys):
    from profiler.command import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "here").mkdir()
    assert main([*arguments, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "choose another" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "mine.json"]
    assert (tmp_path / "mine.json").read_text() == "{}"


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_report_never_replaces_a_configuration_that_was_given_in_python(
    as_path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("x.json").write_text("{}")
    with pytest.raises(BlobwatchError, match=r"x\.json: is both the configuration and"):
        profile_batch_sizes(as_path("x.json"), output_path="x.md")
    assert Path("x.json").read_text() == "{}"


def test_the_name_of_a_preset_is_no_file_that_a_report_could_replace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("quick_3blob")
    made = Profile(config, [100], FAST, "quick_3blob", source="quick_3blob")
    assert made.json_path == Path("quick_3blob.json")
    with pytest.raises(BlobwatchError, match="is both the configuration"):
        Profile(
            config, [100], FAST, config_path("quick_3blob").with_suffix(""), source="quick_3blob"
        )


def test_an_unknown_key_is_named_with_the_nearest_one(tmp_path, capsys):
    from profiler.command import main

    path = tmp_path / "bad.json"
    path.write_text('{"training": {"batch_sze": 3}}')
    assert main([str(path)]) == 2
    assert "did you mean batch_size?" in capsys.readouterr().err


def test_the_profiler_is_imported_without_torch_and_without_matplotlib():
    code = "import sys, profiler.command, profiler.api\n"
    code += "print({'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root()
    )
    assert done.stdout == "set()\n"


def test_ctrl_c_ends_with_130_and_a_report_and_without_a_process_left(tmp_path):
    config = tmp_path / "c.json"
    config.write_text(json.dumps(create_config("quick_3blob", **TINY)))
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    process = subprocess.Popen(
        [sys.executable, "-m", "profiler", str(config), "--epochs", "100000", "--quiet"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        children = psutil.Process(process.pid).children()
        if children:
            break
        time.sleep(0.05)
    assert children
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in output
    assert not any(child.is_running() for child in children)
    assert "Interrupted" in (tmp_path / "batch_profile_d16_h8.md").read_text()


@pytest.mark.slow
def test_the_command_finds_limit_and_target_and_writes_the_configuration(tmp_path):
    config = tmp_path / "c.json"
    config.write_text(json.dumps(create_config("quick_3blob", **{**TINY, "n_train": 4000})))
    arguments = [str(config), "--batch-sizes", "25", "50", "100", "--to-loss", "15.5"]
    arguments += ["--lr-rule", "sqrt", "--find-limit", "--write-config", "optimized.json"]
    done = command(*arguments, "--output", "r.md", "--threads", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    chosen = load_config(tmp_path / "optimized.json")
    record = json.loads((tmp_path / "r.json").read_text())
    assert (
        chosen.training.batch_size == record["analysis"]["recommendation"]["chosen"]["batch_size"]
    )
    assert record["limit"]["largest"] == 4000
    again = command(*arguments, "--output", "r.md", "--threads", "1", "--resume", cwd=tmp_path)
    assert again.returncode == 0
    before = {(t["batch_size"], t["rule"]): t["curve"] for t in record["trials"]}
    after = json.loads((tmp_path / "r.json").read_text())["trials"]
    assert all(before[t["batch_size"], t["rule"]] == t["curve"] for t in after)
