import json
import random

import pytest

from profiler.api import Profile
from profiler.fake import FakeBackend, FakeMachine
from profiler.plan import (
    learning_rate,
)
from profiler.progress import NoProgress
from profiler.settings import Settings
from tests.fake_profiles import CONFIG, FAST, profile, statuses


def test_an_out_of_memory_trial_stops_no_other_and_has_no_losses(tmp_path):
    machine = FakeMachine(device="cuda", capacity_bytes=330_000_000)
    found = profile(tmp_path, machine)
    assert statuses(found) == {
        250: "completed", 500: "completed", 1000: "completed", 2000: "out_of_memory",
    }  # fmt: skip
    failed = found.analysis.profiles[-1]
    assert failed.oom_error
    assert failed.final_train_loss is None
    assert failed.final_test_loss is None
    assert failed.samples_per_second is None
    assert "OOM" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("when", ["Prepare", "TrainEpochs", "TakeWindow", "MeasurePhases"])
@pytest.mark.parametrize("status", ["killed", "timed_out", "crashed"])
def test_an_accident_at_any_moment_costs_that_size_alone(tmp_path, when, status):
    machine = FakeMachine(accidents={500: (when, status, "what happened")})
    found = profile(tmp_path, machine)
    assert statuses(found)[500] == status
    assert list(statuses(found).values()).count("completed") == 3
    (failed,) = [p for p in found.analysis.profiles if p.batch_size == 500]
    assert (failed.avg_time_per_epoch, failed.samples_per_second) == (None, None)
    assert (failed.final_train_loss, failed.final_test_loss) == (None, None)
    assert "what happened" in (tmp_path / "report.md").read_text()


def test_a_drifting_machine_does_not_pick_the_winner(tmp_path):
    # Twice as slow at the end as at the beginning: measured one after another, sizes would win by
    # their turn. All cost the same a sample, so the first windows decide nothing.
    machine = FakeMachine(overhead_s=0.0, slowness=lambda n: 1 + n / 100)
    found = profile(tmp_path, machine)
    rates = [s.rate.value for s in found.analysis.speeds.values()]
    assert max(rates) / min(rates) < 1.1
    assert found.advice.throughput.batch_size == 250


def test_contended_windows_are_rejected_counted_and_reported(tmp_path):
    rng = random.Random(5)
    busy = {n for n in range(10000) if rng.random() < 0.3}
    machine = FakeMachine(
        slowness=lambda n: 3.0 if n in busy else 1.0,
        waited_share=lambda n: 0.6 if n in busy else 0.0,
    )
    found = profile(tmp_path, machine)
    for size, speed in found.analysis.speeds.items():
        assert speed.n_rejected > 0
        assert speed.rate.value == pytest.approx(size / (2e-3 + 1e-5 * size), rel=0.01)


def test_windows_of_all_sizes_are_interleaved_in_turning_order(tmp_path):
    machine = FakeMachine()
    profile(tmp_path, machine)
    rounds = [machine.window_sizes[i : i + 4] for i in range(0, len(machine.window_sizes), 4)]
    assert all(sorted(r) == [250, 500, 1000, 2000] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 2


def test_time_to_target_and_throughput_recommend_different_sizes_and_say_why(tmp_path):
    found = profile(tmp_path, FakeMachine(), test_epochs=20)
    assert found.advice.throughput.batch_size == 2000
    assert found.advice.time_to_target.batch_size < 2000
    assert found.advice.chosen == found.advice.time_to_target
    other = profile(tmp_path, FakeMachine(), test_epochs=20, optimize="throughput")
    assert other.advice.chosen.batch_size == 2000
    text = (tmp_path / "report.md").read_text()
    assert "**Optimal batch size: 2,000**" in text
    assert "- Best throughput: " in text


def test_the_recommendation_by_fits_and_epochs_is_near_brute_force(tmp_path):
    sizes = (50, 100, 200, 400, 800, 1600)
    found = profile(tmp_path, FakeMachine(), sizes=sizes, test_epochs=20)
    target = found.analysis.target.loss
    brute = profile(tmp_path, FakeMachine(), sizes=sizes, test_epochs=20, to_loss=target)
    times = {t.batch_size: t.seconds.value for t in brute.analysis.target_times if t.is_measured}
    assert set(times) == set(sizes)
    assert times[found.advice.chosen.batch_size] <= 1.1 * min(times.values())
    assert found.analysis.steps_fit.b_noise == pytest.approx(200, rel=0.25)


def test_the_smallest_size_winning_says_which_smaller_ones_to_try(tmp_path):
    machine = FakeMachine(b_noise=10.0)
    found = profile(tmp_path, machine, sizes=(1000, 2000, 4000), test_epochs=40)
    assert any("try 250 and 500" in sentence for sentence in found.advice.advice)


def test_a_plateau_everywhere_is_said_plainly_and_throughput_decides(tmp_path):
    found = profile(tmp_path, FakeMachine(s_min=1e9), test_epochs=1)
    assert found.advice.time_to_target is None
    assert found.advice.goal == "throughput"
    assert any("No size learned" in sentence for sentence in found.advice.advice)


def test_learning_rate_rules_add_trials_with_the_scaled_rate(tmp_path):
    found = profile(tmp_path, FakeMachine(), rules=("constant", "sqrt", "linear"))
    rates = {(t.batch_size, t.rule): t.learning_rate for t in found.record.trials}
    assert len(rates) == 4 + 3 + 3
    assert rates[500, "sqrt"] == pytest.approx(0.02 * 0.5)
    assert rates[500, "linear"] == pytest.approx(0.02 * 0.25)
    assert learning_rate(CONFIG, 2000, "linear") == 0.02
    equal = found.analysis.equal_steps.losses
    assert {rule: set(losses) for rule, losses in equal.items()} == {
        "constant": {250, 500, 1000, 2000}, "sqrt": {250, 500, 1000}, "linear": {250, 500, 1000},
    }  # fmt: skip
    # Judged beside the configured size, whose rate is the same under every rule.
    assert set(found.analysis.verdicts["sqrt"]) == {250, 500, 1000, 2000}


def test_on_a_gpu_a_size_above_the_budget_completes_but_is_not_called_fitting(tmp_path):
    # A budget of 75% of 450 MB; sizes need 305 to 340 MB.
    machine = FakeMachine(device="cuda", capacity_bytes=450_000_000)
    found = profile(tmp_path, machine, optimize="throughput")
    assert statuses(found)[2000] == "completed"
    assert found.advice.largest.batch_size == 1000
    assert found.advice.chosen.batch_size == 2000
    assert any("needs more than the budget" in sentence for sentence in found.advice.advice)


def test_on_the_cpu_a_size_predicted_above_the_budget_is_not_tried(tmp_path):
    machine = FakeMachine(capacity_bytes=325_000_000)
    found = profile(tmp_path, machine, memory_budget_bytes=325_000_000)
    last = found.analysis.profiles[-1]
    assert last.status == "too_large"
    assert last.oom_error
    assert "predicted 0.34 GB" in last.error_message
    tried = profile(tmp_path, machine, memory_budget_bytes=325_000_000, try_oversized=True)
    assert statuses(tried)[2000] == "out_of_memory"


@pytest.mark.parametrize("budget", [345_000_000, 650_000_000, 950_000_000])
def test_the_processes_that_wait_for_their_windows_stay_within_the_budget_too(tmp_path, budget):
    machine = FakeMachine()
    found = profile(tmp_path, machine, memory_budget_bytes=budget)
    assert set(statuses(found).values()) == {"completed"}
    assert machine.most_resident_bytes <= budget
    rounds = [machine.window_sizes[i : i + 4] for i in range(0, len(machine.window_sizes), 4)]
    assert all(sorted(r) == [250, 500, 1000, 2000] for r in rounds), "no longer interleaved"


def test_where_the_budget_holds_all_processes_none_is_started_twice(tmp_path):
    machine = FakeMachine()
    profile(tmp_path, machine)
    assert machine.n_started == 4


@pytest.mark.parametrize("capacity", [310, 333, 412, 550])
def test_the_limit_found_is_within_three_percent_of_the_true_one(tmp_path, capacity):
    machine = FakeMachine(capacity_bytes=capacity * 1_000_000)
    found = profile(
        tmp_path, machine, sizes=(100, 200), find_limit=True,
        memory_budget_bytes=capacity * 1_000_000,
    )  # fmt: skip
    truth = (capacity - 300) * 1_000_000 // 20_000
    limit = found.record.limit
    assert truth * 0.97 <= limit.largest <= truth
    assert len(limit.probes) <= 9
    assert found.advice.largest.batch_size == limit.largest


def test_where_an_epoch_fits_the_limit_is_the_epoch(tmp_path):
    found = profile(tmp_path, FakeMachine(), sizes=(1000, 2000), find_limit=True)
    assert found.record.limit.largest == 20000
    assert "epoch" in found.record.limit.reason


@pytest.mark.parametrize("status", ["timed_out", "crashed"])
def test_a_probe_that_hangs_or_crashes_ends_the_search_with_what_is_known(tmp_path, status):
    # 800 is fourfold the largest size tried: the first probe.
    machine = FakeMachine(accidents={800: ("Prepare", status, "what happened")})
    found = profile(tmp_path, machine, sizes=(100, 200), find_limit=True)
    assert found.record.limit.largest == 200
    assert found.record.limit.reason.startswith("the search ended at 800: what happened")


def test_the_json_is_strict_and_holds_everything_again(tmp_path):
    profile(tmp_path, FakeMachine(device="cuda", capacity_bytes=330_000_000), pictures=True)
    text = (tmp_path / "report.json").read_text()
    loaded = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert loaded["status"] == "completed"
    assert len(loaded["trials"]) == 4
    assert loaded["analysis"]["recommendation"]["chosen"]["batch_size"]
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert (tmp_path / "report.svg").read_text().startswith("<?xml")


class Interrupting(NoProgress):
    def advance(self, done, total, text):
        if "1,000" in text:
            raise KeyboardInterrupt


def test_an_interrupt_leaves_a_report_of_what_is_known_and_no_process(tmp_path):
    made = Profile(CONFIG, [250, 500, 1000], Settings(**FAST), tmp_path / "r.md")
    backend = FakeBackend()
    with pytest.raises(KeyboardInterrupt):
        made.run(backend, Interrupting())
    assert backend.machine.n_running == 0
    text = (tmp_path / "r.md").read_text()
    assert "Interrupted" in text
    assert "| 250" in text
    assert "| 500" in text
    assert json.loads((tmp_path / "r.json").read_text())["status"] == "interrupted"
