"""Sequential tests and intervals: the error rates they promise, by counting."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.rate import Rate, clean_runs_to_prove_fixed
from chaos.sequential import confident, decide, fails_less


@pytest.mark.parametrize(
    ("failures", "runs", "low", "high"),
    [(0, 10, 0.0, 0.3085), (3, 10, 0.0667, 0.6525), (10, 10, 0.6915, 1.0), (6, 20, 0.1189, 0.5428)],
)
def test_the_interval_is_clopper_and_pearsons(failures: int, runs: int, low: float, high: float) -> None:
    assert Rate(runs=runs, failures=failures).interval95 == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 25), st.floats(0.0, 1.0))
def test_the_interval_covers_the_true_rate_in_95_percent_of_samples(runs: int, rate: float) -> None:
    covered = 0.0
    for failures in range(runs + 1):
        low, high = Rate(runs=runs, failures=failures).interval95
        if low - 1e-9 <= rate <= high + 1e-9:
            covered += math.comb(runs, failures) * rate**failures * (1 - rate) ** (runs - failures)
    assert covered >= 0.95 - 1e-6


def test_two_failures_keep_and_eight_passes_lose_what_comes_of_a_rate_of_three_in_ten() -> None:
    assert decide(Rate(runs=1, failures=1), parent_rate=0.3) == "undecided"
    assert decide(Rate(runs=2, failures=2), parent_rate=0.3) == "keeps"
    assert decide(Rate(runs=7), parent_rate=0.3) == "undecided"
    assert decide(Rate(runs=8), parent_rate=0.3) == "loses"


def test_one_run_decides_where_the_parent_always_fails() -> None:
    assert decide(Rate(runs=1, failures=1), parent_rate=0.95) == "keeps"
    assert decide(Rate(runs=1), parent_rate=0.95) == "loses"


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.9])
def test_what_keeps_its_rate_is_seldom_lost_and_what_never_fails_never_kept(rate: float) -> None:
    rng = random.Random(5)
    lost = sum(_decided(rate, rate, rng) == "loses" for _ in range(2000))
    assert lost / 2000 <= 0.13
    assert {_decided(0.0, rate, rng) for _ in range(100)} == {"loses"}


def _decided(true_rate: float, parent_rate: float, rng: random.Random) -> str:
    counts = Rate()
    while (decision := decide(counts, parent_rate=parent_rate)) == "undecided":
        counts = counts.and_one(failed=rng.random() < true_rate)
    return decision


@pytest.mark.parametrize(("parent_rate", "enough"), [(0.95, 14), (0.5, 6), (0.3, 4)])
def test_so_many_failures_of_twenty_are_no_less_than_the_parents(parent_rate: float, enough: int) -> None:
    assert not fails_less(Rate(runs=20, failures=enough), parent_rate=parent_rate)
    assert fails_less(Rate(runs=20, failures=enough - 1), parent_rate=parent_rate)


def test_clean_runs_to_prove_fixed() -> None:
    assert [clean_runs_to_prove_fixed(rate) for rate in (0.1, 0.3, 1.0)] == [29, 9, 1]


def test_confident() -> None:
    assert not confident(Rate())
    assert not confident(Rate(runs=28))
    assert confident(Rate(runs=29))
    assert not confident(Rate(runs=20, failures=10))
    assert confident(Rate(runs=50, failures=25))


def test_an_interval_of_thousands_of_runs_can_be_told() -> None:
    low, high = Rate(runs=4000, failures=2000).interval95
    assert 0.484 < low < 0.485
    assert 0.515 < high < 0.516
