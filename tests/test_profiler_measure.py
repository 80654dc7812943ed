import numpy as np
import pytest

from profiler.efficiency import (
    best_size,
    fit_step_time,
    fit_steps,
    noise_scale,
    steps_to,
)
from profiler.learning import choose_target, judge, zero_loss
from profiler.measure import (
    Estimate,
    Window,
    best_of_ties,
    bootstrap_median,
    estimate_speed,
    has_settled,
    select,
    uncontended,
)
from trainer.config import load_config


def window(rate=1000.0, waited=0.0, cpu=1.0, round_number=0, stolen=0.0):
    return Window(
        round=round_number,
        n_steps=10,
        n_samples=1000,
        wall_s=1000 / rate,
        cpu_s=cpu * 1000 / rate,
        system_s=0.0,
        n_page_faults=20,
        waited_s=None if waited is None else waited * 1000 / rate,
        stolen_s=stolen * 1000 / rate,
    )


def test_a_window_whose_threads_waited_for_a_core_is_rejected_and_counted():
    windows = [window() for _ in range(6)] + [window(rate=300, waited=0.6)]
    assert uncontended(windows, 1) == [True] * 6 + [False]
    speed = estimate_speed(windows, 1)
    assert speed.rate.value == pytest.approx(1000)
    assert (speed.n_used, speed.n_rejected, speed.is_busy) == (6, 1, False)


def test_time_stolen_by_the_hypervisor_counts_as_contention():
    assert uncontended([window(stolen=0.2)], 1) == [False]


def test_without_waiting_times_a_low_cpu_share_gives_contention_away():
    windows = [window(waited=None) for _ in range(6)] + [window(waited=None, cpu=0.5)]
    assert uncontended(windows, 1) == [True] * 6 + [False]


def test_when_every_window_is_contended_the_least_contended_are_used_and_it_is_said():
    windows = [window(rate=1000 - 10 * i, waited=0.1 + 0.05 * i) for i in range(8)]
    used, is_busy = select(windows, 1)
    assert is_busy
    assert used == windows[:5]


def test_on_a_busy_machine_the_cpu_time_of_a_single_thread_stands_for_the_wall_time():
    windows = [
        Window(
            round=i, n_steps=10, n_samples=1000, wall_s=1 / s, cpu_s=1.0, system_s=0.0,
            n_page_faults=0, waited_s=1 / s - 1,
        )
        for i, s in enumerate((0.3, 0.4, 0.5, 0.6, 0.35))
    ]  # fmt: skip
    speed = estimate_speed(windows, 1)
    assert speed.is_busy
    assert speed.rate.value == pytest.approx(1000)
    assert estimate_speed(windows, 2).rate.value < 700


def test_the_bootstrap_interval_of_a_median_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(3)
    found = [bootstrap_median(generator.normal(100, 5, 25).tolist(), i) for i in range(200)]
    covered = sum(e.low <= 100 <= e.high for e in found)
    assert 180 <= covered <= 200


def test_a_wild_outlier_moves_neither_estimate_nor_interval_much():
    estimate = bootstrap_median([100.0, 101, 99, 100, 102, 98, 100, 1.0])
    assert estimate.value == pytest.approx(100, rel=0.01)
    assert estimate.half_width < 0.02


def test_sampling_goes_on_until_the_noise_has_settled():
    noisy = [window(rate=1000 + 300 * (-1) ** i) for i in range(6)]
    assert not has_settled(noisy, 1)
    assert not has_settled([window()] * 3, 1)
    assert has_settled([window()] * 6, 1)


def test_sizes_whose_intervals_overlap_are_a_tie_and_the_smallest_wins():
    estimates = {
        100: Estimate(90, 88, 92),
        200: Estimate(98, 95, 101),
        400: Estimate(100, 97, 103),
    }
    assert best_of_ties(estimates, highest=True) == (200, [200, 400])


def test_a_very_noisy_small_size_does_not_win_a_tie_by_its_noise():
    estimates = {100: Estimate(50, 10, 120), 400: Estimate(100, 97, 103)}
    assert best_of_ties(estimates, highest=True) == (400, [400])


def test_steps_that_follow_the_law_are_fitted_exactly():
    steps = {b: 200 * (1 + 300 / b) for b in (100, 200, 800, 3200)}
    fit = fit_steps(steps)
    assert fit.s_min == pytest.approx(200)
    assert fit.b_noise == pytest.approx(300)
    assert fit.misfit < 1e-9


def test_steps_that_do_not_fall_with_the_size_give_no_negative_noise_scale():
    fit = fit_steps({100: 200.0, 200: 210.0, 400: 230.0})
    assert fit.b_noise == 0
    assert 200 <= fit.s_min <= 230


def test_the_best_size_by_the_formula_is_the_least_time_on_a_fine_grid():
    steps = fit_steps({b: 150 * (1 + 500 / b) for b in (100, 1000)})
    time = fit_step_time({b: 2e-3 + 1e-5 * b for b in (100, 1000)})
    grid = np.arange(10, 5000)
    least = grid[np.argmin([steps.steps(b) * time.step_s(b) for b in grid])]
    assert best_size(steps, time) == pytest.approx(least, abs=1)


def test_the_noise_scale_is_refused_on_a_plateau_and_where_the_gradient_drowns():
    assert "predicting zero" in noise_scale([(10, 5.0, 1.0)] * 4, plateau=True).reason
    drowned = [(10, 5.0, 1.0), (10, 5.0, -1.2), (10, 5.0, 0.9), (10, 5.0, -0.8)]
    found = noise_scale(drowned)
    assert found.value is None
    assert "zero" in found.reason


def curve(decay, n=200, noise=0.02, step=1.0):
    generator = np.random.default_rng(0)
    return [
        (
            i * step + 0.5,
            4 + 12 * float(np.exp(-i * step / decay)) + float(generator.normal(0, noise)),
        )
        for i in range(n)
    ]


def test_steps_to_a_loss_are_read_off_a_noisy_curve_with_an_interval_around_the_truth():
    found = steps_to(curve(50, noise=0.1), 8.0)
    truth = 50 * np.log(3)
    assert found.value == pytest.approx(truth, rel=0.05)
    assert found.low <= found.value <= found.high


def test_a_loss_that_was_never_reached_has_no_steps():
    assert steps_to(curve(50), 3.0) is None
    assert steps_to([], 3.0) is None


def test_one_lucky_batch_is_not_the_target():
    points = [(float(i), 10.0) for i in range(50)]
    points[20] = (20.0, 1.0)
    assert steps_to(points, 9.0) is None


def test_too_few_steps_and_a_plateau_are_told_apart():
    flat = [(float(i), 10.2) for i in range(400)]
    few = [(float(i), 10.2) for i in range(20)]
    good = [(float(i), 10.2 if i < 100 else 6.0) for i in range(400)]
    losses = {100: 10.2, 1000: 10.2, 400: 6.0}
    verdicts = judge({100: flat, 1000: few, 400: good}, losses, 16.0)
    assert verdicts == {100: "plateau", 1000: "too few steps", 400: "learned"}


def test_nothing_learned_gives_no_target():
    flat = [(float(i), 15.9) for i in range(100)]
    verdicts = judge({10: flat, 20: flat}, {10: 15.9, 20: 15.9}, 16.0)
    assert set(verdicts.values()) == {"plateau"}, "no size got lower, with however many steps"
    assert choose_target({10: flat, 20: flat}, verdicts, 10) is None


def test_the_target_is_what_the_configured_size_reached():
    curves = {100: curve(30), 200: curve(60), 400: curve(150)}
    verdicts = dict.fromkeys(curves, "learned")
    target = choose_target(curves, verdicts, 400)
    assert "400" in target.source
    assert target.loss == pytest.approx(4 + 12 * np.exp(-200 / 150), rel=0.05)
    assert steps_to(curves[100], target.loss).value < steps_to(curves[400], target.loss).value


@pytest.mark.parametrize("loss_type", ["scaled_mse", "logistic"])
def test_the_loss_of_predicting_zero_is_what_the_trainer_computes(loss_type):
    import torch

    from trainer.losses import new_loss

    config = load_config("quick_3blob", {"loss_type": loss_type, "lambda_on": 5.0})
    on, off = new_loss(config.loss)(
        torch.zeros(3, 256, dtype=torch.float64), torch.tensor([[1, 2], [3, 4], [0, 255]])
    )
    assert zero_loss(config) == pytest.approx(float(on + off), rel=1e-6)


def test_a_size_that_has_hardly_left_the_loss_of_predicting_zero_is_no_target():
    falling = [(float(i), 16.0 - 0.1 * i) for i in range(24)]
    good = [(float(i), max(8.0, 16.0 - 0.1 * i)) for i in range(400)]
    losses = {8000: 13.7, 500: 8.0}
    verdicts = judge({8000: falling, 500: good}, losses, 16.0)
    assert verdicts == {8000: "too few steps", 500: "learned"}
    assert choose_target({8000: falling, 500: good}, verdicts, 500) is None
