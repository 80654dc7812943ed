"""Decimation and smoothing: what must be seen in a picture of many epochs is still there."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitord.draw.decimation import decimate, isolated_points, smoothed

VALUES = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.sampled_from([np.nan, np.inf, -np.inf])),
    min_size=1,
    max_size=400,
)


def test_a_short_series_is_returned_as_it_is_with_infinities_as_gaps() -> None:
    x, y = decimate(np.arange(4.0), np.array([1.0, np.inf, np.nan, 2.0]), 100)
    assert x.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(y, [1.0, np.nan, np.nan, 2.0])


@given(VALUES, st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_each_column_keeps_its_extremes_and_the_ends_stay(values: list[float], n: int) -> None:
    y = np.array(values)
    x = np.arange(y.size, dtype=float)
    kept_x, kept_y = decimate(x, y, n)
    finite = np.isfinite(y)
    assert (np.diff(kept_x) >= 0).all()
    kept = dict(zip(kept_x[np.isfinite(kept_y)], kept_y[np.isfinite(kept_y)], strict=True))
    assert all(y[int(place)] == value for place, value in kept.items())
    if not finite.any():
        assert not kept
        return
    assert {x[finite][0], x[finite][-1]} <= set(kept)
    edges = np.minimum((x * n / max(x[-1], 1)).astype(int), n - 1)
    for column in np.unique(edges):
        inside = y[(edges == column) & finite]
        if inside.size:
            here = [value for place, value in kept.items() if edges[int(place)] == column]
            assert (min(here), max(here)) == (inside.min(), inside.max())


@given(VALUES, st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_a_gap_at_the_border_of_two_columns_still_parts_them(values: list[float], n: int) -> None:
    y = np.array(values)
    x = np.arange(y.size, dtype=float)
    if x.size <= 2 * n:
        return
    kept_x, kept_y = decimate(x, y, n)
    column = np.minimum((x * (n / x[-1])).astype(int), n - 1)
    for right in np.flatnonzero(np.diff(column)) + 1:
        if np.isfinite(y[right]) and np.isfinite(y[right - 1]):
            continue
        places = np.flatnonzero(np.isfinite(kept_y))
        before = places[kept_x[places] < right]
        after = places[kept_x[places] >= right]
        if before.size and after.size:
            assert np.isnan(kept_y[before[-1] + 1 : after[0]]).any()


def test_a_spike_of_one_epoch_in_a_hundred_thousand_is_kept() -> None:
    y = np.zeros(100_000)
    y[54_321], y[77_777] = 9.0, -4.0
    x, kept = decimate(np.arange(y.size, dtype=float), y, 300)
    assert kept.max() == 9.0 and kept.min() == -4.0
    assert x[kept.argmax()] == 54_321
    assert x.size <= 2 * 300 + 2


def test_a_gap_inside_a_column_never_parts_its_two_extremes() -> None:
    y = np.tile([0.0, np.nan, 1.0, 0.5, 0.5], 2000)
    _, kept = decimate(np.arange(y.size, dtype=float), y, 20)
    finite = np.isfinite(kept)
    assert not isolated_points(kept).any()
    assert np.count_nonzero(~finite) == 20


def test_a_series_without_a_finite_value_gives_gaps_only() -> None:
    _, kept = decimate(np.arange(1000.0), np.full(1000, np.nan), 10)
    assert np.isnan(kept).all() and kept.size <= 20


def test_shapes_that_differ_and_no_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot decimate"):
        decimate(np.arange(3.0), np.arange(4.0), 5)
    with pytest.raises(ValueError, match="0 columns"):
        decimate(np.arange(3.0), np.arange(3.0), 0)


def test_a_hundred_thousand_epochs_take_a_few_milliseconds() -> None:
    x, y = np.arange(100_000.0), np.random.default_rng(0).standard_normal(100_000)
    took = []
    for _ in range(7):
        started = time.perf_counter()
        decimate(x, y, 400)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.02


def test_values_between_two_gaps_are_found() -> None:
    y = np.array([1.0, np.nan, 2.0, np.nan, 3.0, 4.0])
    assert isolated_points(y).tolist() == [True, False, True, False, False, False]
    assert isolated_points(np.array([1.0])).tolist() == [True]


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.6, 0.99, 0.9999])
def test_smoothing_is_the_debiased_average_of_the_definition(weight: float) -> None:
    y = np.random.default_rng(1).standard_normal(3000) + 5.0
    y[[0, 7, 8, 2999]] = np.nan
    total = mass = 0.0
    expected = np.full(y.size, np.nan)
    for index, value in enumerate(y):
        if np.isfinite(value):
            total, mass = weight * total + value, weight * mass + 1.0
            expected[index] = total / mass
    np.testing.assert_allclose(smoothed(y, weight), expected, rtol=1e-9)


def test_smoothing_starts_at_the_first_value_not_at_zero() -> None:
    assert smoothed(np.array([170.0, 9.0]), 0.9)[0] == 170.0
