"""Bins of durations: exact below 128, within 0.8 % above, percentiles by nearest rank."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.projection import bin_of, middle_of, percentiles

DURATIONS = st.one_of(st.integers(0, 10_000), st.integers(0, 2**63 - 1))


@given(DURATIONS)
def test_the_middle_of_a_bin_is_near_every_value_in_it(value: int) -> None:
    assert abs(middle_of(bin_of(value)) - value) <= value * 0.008


@given(DURATIONS, DURATIONS)
def test_bins_keep_the_order_of_values(one: int, two: int) -> None:
    low, high = sorted((one, two))
    assert bin_of(low) <= bin_of(high)
    assert middle_of(bin_of(low)) <= middle_of(bin_of(high))


def test_bins_follow_each_other_without_a_gap() -> None:
    bins = [bin_of(value) for value in range(5000)]
    assert sorted(set(bins)) == list(range(bins[-1] + 1))
    assert all(bin_of(middle_of(one)) == one for one in set(bins))


@pytest.mark.parametrize("value", [0, 1, 127])
def test_small_values_are_their_own_bin(value: int) -> None:
    assert bin_of(value) == value == middle_of(value)


@pytest.mark.parametrize("value", [-1, -(2**63)])
def test_negative_values_fall_into_the_first_bin(value: int) -> None:
    assert bin_of(value) == 0


def _exact(values: list[int], fraction: float) -> int:
    return sorted(values)[max(1, math.ceil(round(len(values) * fraction, 9))) - 1]


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_percentiles_are_within_one_percent_of_the_exact_ones(values: list[int], fraction: float) -> None:
    counts: dict[int, int] = {}
    for value in values:
        counts[bin_of(value)] = counts.get(bin_of(value), 0) + 1
    (found,) = percentiles(counts.items(), [fraction])
    assert found is not None
    exact = _exact(values, fraction)
    assert abs(found - exact) <= exact * 0.01


def test_percentiles_do_not_depend_on_the_order_of_bins() -> None:
    chance = random.Random(1)
    counts = [(bin_of(chance.randrange(10**9)), chance.randrange(1, 9)) for _ in range(50)]
    shuffled = counts[:]
    chance.shuffle(shuffled)
    assert percentiles(counts, (0.1, 0.5, 0.99)) == percentiles(shuffled, (0.1, 0.5, 0.99))


def test_nothing_has_no_percentiles() -> None:
    assert percentiles([], (0.5, 0.99)) == [None, None]


def test_two_values_have_the_lower_one_as_median() -> None:
    assert percentiles([(10, 1), (20, 1)], (0.5, 0.51, 1.0)) == [10, 20, 20]
