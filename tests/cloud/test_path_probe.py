"""A path's rate from a transfer: not of the burst it begins with, and not without the silence it ends with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.cloud.path_probe import rate_of

MBIT = 125_000  # bytes a second


def steady(rate_mbit: float, *, count: int = 40, from_s: float = 7.0, chunk: int = 5000) -> list[tuple[float, int]]:
    """Arrivals of equal chunks, the first of them at `from_s`."""
    gap_s = chunk / (rate_mbit * MBIT)
    return [(from_s + place * gap_s, (place + 1) * chunk) for place in range(count)]


@given(rate_mbit=st.floats(0.1, 1e4), count=st.integers(2, 200))
def test_a_steady_stream_has_its_rate(rate_mbit: float, count: int) -> None:
    arrivals = steady(rate_mbit, count=count)
    assert rate_of(arrivals, arrivals[-1][0]) == pytest.approx(rate_mbit, rel=1e-3)


@given(rate_mbit=st.floats(0.1, 100.0), burst=st.integers(1, 1_000_000))
def test_a_burst_that_passes_first_does_not_count(rate_mbit: float, burst: int) -> None:
    arrivals = [(7.0, burst), *((at_s, burst + size) for at_s, size in steady(rate_mbit, from_s=7.001))]
    assert rate_of(arrivals, arrivals[-1][0]) == pytest.approx(rate_mbit, rel=0.1)


def test_silence_until_the_limit_counts() -> None:
    assert rate_of([(7.0, 1000), (7.001, 64_000)], 9.0) == 0.0
    half_way = [(7.0, 1000), (7.001, 64_000), (8.5, 64_000 + MBIT)]
    assert rate_of(half_way, 9.0) == pytest.approx(1 / 1.999, rel=1e-3)


def test_of_nothing_and_of_one_moment_nothing_can_be_told() -> None:
    assert rate_of([], 9.0) is None
    assert rate_of([(7.0, 1024)], 7.0) is None
