"""What the report says, by the fake back-end."""

import re
from dataclasses import replace

import pytest

from profiler.analysis import analyse
from profiler.api import Profile
from profiler.efficiency import StepsFit, TimeFit
from profiler.fake import FakeBackend, FakeMachine
from profiler.progress import NoProgress
from profiler.report import console_lines
from profiler.sections import _best_size_text, _fit_lines, phases_section
from profiler.settings import Settings
from trainer.config import load_config

CONFIG = load_config("quick_3blob", {"n_train": 20000, "device": "cpu"})
SETTINGS = {"windows_s": 0.2, "busy_windows_s": 0.2, "pictures": False}


def profiled(tmp_path, machine=None, sizes=(250, 500, 1000, 2000), **settings):
    """Return what was found, and the report."""
    made = Profile(CONFIG, list(sizes), Settings(**SETTINGS, **settings), tmp_path / "r.md")
    found = made.run(FakeBackend(machine), NoProgress())
    return found, (tmp_path / "r.md").read_text()


def section(text, title):
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_a_failed_trial_has_no_losses_in_any_table(tmp_path):
    machine = FakeMachine(accidents={500: ("MeasureMemory", "crashed", "boom")})
    found, text = profiled(tmp_path, machine, test_epochs=3)
    assert found.record.trial(500).epochs
    assert "| 500 " not in section(text, "Losses")
    assert not [noise for noise in found.analysis.noise if noise.batch_size == 500]


def test_after_a_single_epoch_the_noise_scale_has_a_value_or_a_reason(tmp_path):
    _, text = profiled(tmp_path, FakeMachine(b_noise=300.0), test_epochs=1)
    assert "refused" not in text
    assert re.search(r"\| 250 +\| 1 +\| [\d.]+ +\| 299 \(297 to 300\)", text)
    _, text = profiled(tmp_path, FakeMachine(s_min=1e9), test_epochs=1)
    assert "refused: the loss is still near that of predicting zero" in text


def test_the_final_loss_of_a_recommendation_is_that_of_its_learning_rate_rule(tmp_path):
    found, _ = profiled(tmp_path, rules=("constant", "sqrt"), test_epochs=20)
    # Only the fake machine learns alike under every rule: let the sqrt rule be faster.
    for trial in found.record.trials:
        if trial.rule == "sqrt":
            trial.curve = [(x / 10, y) for x, y in trial.curve]
            last = trial.epochs[-1]
            trial.epochs = [*trial.epochs[:-1], type(last)(**{**as_dict(last), "test_loss": 1.25})]
    from profiler.recommendation import recommend
    from profiler.report import render

    analysis = analyse(found.record, CONFIG)
    advice = recommend(found.record, analysis, CONFIG, "auto")
    assert advice.chosen.rule == "sqrt"
    assert "- Final test loss: 1.2500" in render(found.record, analysis, advice, CONFIG)


def as_dict(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def test_steps_faster_than_the_products_alone_show_that_the_machine_was_busy(tmp_path):
    found, text = profiled(tmp_path)
    assert "the machine was busy" not in section(text, "Where the time goes")
    found.record.flops_per_s = 1e6
    (lines,) = phases_section(found.record, found.analysis, CONFIG)
    assert "the machine was busy" in lines


class _FailingRule(FakeBackend):
    """The second process at size 500, that of the rule, comes to grief."""

    def start(self):
        if self.machine.n_started == 4:
            self.machine.accidents = {250: ("TrainEpochs", "crashed", "what happened")}
        else:
            self.machine.accidents = {}
        return super().start()


def test_a_failed_trial_of_a_learning_rate_rule_is_listed_with_its_reason(tmp_path):
    settings = Settings(**SETTINGS, rules=("constant", "sqrt"))
    made = Profile(CONFIG, [250, 500, 1000, 2000], settings, tmp_path / "r.md")
    found = made.run(_FailingRule(), NoProgress())
    assert found.record.trial(250, "sqrt").status == "crashed"
    assert "- 250 (sqrt rule): what happened" in (tmp_path / "r.md").read_text()
    lines = console_lines(found.record, found.analysis, found.advice)
    assert "250 (sqrt rule): what happened" in lines


def test_where_nothing_larger_was_refused_the_largest_that_fits_is_a_minimum(tmp_path):
    found, text = profiled(tmp_path, find_limit=True)
    assert found.record.limit.refused is None
    assert "Largest that fits: at least 20,000; a whole epoch" in text
    assert "| at least 20,000 |" in text
    _, text = profiled(tmp_path)
    assert "| at least 2,000 " in text
    machine = FakeMachine(capacity_bytes=400_000_000)
    found, text = profiled(tmp_path, machine, find_limit=True, memory_budget_bytes=400_000_000)
    assert found.record.limit.refused > found.record.limit.largest
    assert "at least" not in section(text, "Recommendation")


def test_before_two_sizes_were_measured_a_prediction_is_a_minimum_and_called_so(tmp_path):
    found, text = profiled(tmp_path)
    assert [t.predicted_is_minimum for t in found.record.trials] == [False, True, False, False]
    row = next(line for line in section(text, "Memory").splitlines() if line.startswith("| 500 "))
    assert "at least 0.30 GB" in row
    found, text = profiled(tmp_path, memory_budget_bytes=301_000_000, sizes=(20, 20000))
    assert "not tried: needs at least 0.32 GB, above the budget of 0.30 GB" in text


@pytest.mark.parametrize(
    ("steps", "time", "words"),
    [
        (StepsFit(100, 0.0, 0.1), TimeFit(1e-3, 1e-6), "about 100 steps at every size"),
        (StepsFit(1e-7, 1e12, 0.1), TimeFit(1e-3, 1e-6), "S(B) = 100,000/B, as many samples"),
        (StepsFit(100, 500.0, 0.1), TimeFit(1e-3, 1e-6), "S(B) = 100 (1 + 500/B)"),
        (StepsFit(100, 500.0, 0.1), TimeFit(0.0, 1e-6), "Step time: 1.00 us a sample."),
        (StepsFit(100, 500.0, 0.1), TimeFit(1e-3, 0.0), "Step time: 1.00 ms."),
        (StepsFit(100, 500.0, 0.5), TimeFit(1e-3, 1e-6), "misses the measured steps by up to 50%"),
    ],
)
def test_the_fit_reads_sensibly_at_its_limits(tmp_path, steps, time, words):
    found, _ = profiled(tmp_path, test_epochs=20)
    lines = _fit_lines(replace(found.analysis, steps_fit=steps, time_fit=time))
    assert any(words in line for line in lines)
    assert not any("1,000,000,000" in line or "(0 " in line or " 0 " in line for line in lines)


@pytest.mark.parametrize(
    ("best", "words"),
    [
        (400.0, "is least at B* = 400."),
        (0.0, "grows from the smallest size here, 100, on."),
        (30.0, "grows from the smallest size here, 100, on."),
        (5000.0, "falls up to the largest size here, 1,000, and beyond."),
        (None, "falls up to the largest size here, 1,000, and beyond."),
    ],
)
def test_a_best_size_beyond_those_tried_is_called_a_direction(best, words):
    assert _best_size_text(best, 100, 1000) == f"By these fits T(B) {words}"


def drawn(tmp_path, found):
    """Return the picture's first two panels, throughput and time to target."""
    from matplotlib.figure import Figure

    from profiler.panels import PANELS

    axes = Figure().subplots(1, 2)
    for panel, one in zip(PANELS, axes, strict=False):
        panel(one, found.record, found.analysis, found.advice, CONFIG)
    return axes


def test_a_very_wide_interval_does_not_flatten_the_others_in_the_picture(tmp_path):
    found, _ = profiled(tmp_path, test_epochs=20)
    speeds = found.analysis.speeds
    rate = speeds[500].rate
    speeds[500] = replace(speeds[500], rate=replace(rate, high=1000 * rate.value))
    axes, _ = drawn(tmp_path, found)
    assert axes.get_ylim()[1] <= 2.1 * max(s.rate.value for s in speeds.values())
    assert f"to {1000 * rate.value:,.0f}" in [text.get_text() for text in axes.texts]


def test_no_legend_of_the_picture_covers_a_value(tmp_path):
    found, _ = profiled(tmp_path, test_epochs=20)
    for axes in drawn(tmp_path, found):
        axes.figure.draw_without_rendering()
        legend = axes.get_legend().get_window_extent()
        points = [xy for line in axes.lines for xy in line.get_xydata() if line.get_marker() == "o"]
        assert points
        assert not any(legend.contains(*axes.transData.transform(xy)) for xy in points)


class _Lines(NoProgress):
    def __init__(self):
        self.seen = []

    def advance(self, done, total, text):
        self.seen.append((done / total, text))


def test_progress_goes_on_while_the_largest_size_is_looked_for(tmp_path):
    progress = _Lines()
    settings = Settings(**SETTINGS, find_limit=True)
    made = Profile(CONFIG, [100, 200], settings, tmp_path / "r.md")
    limit = made.run(FakeBackend(), progress).record.limit
    probes = [text for _, text in progress.seen if text.startswith("largest size that fits")]
    assert probes == [f"largest size that fits: {size:,}?" for size, _ in limit.probes]
    shares = [share for share, _ in progress.seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
