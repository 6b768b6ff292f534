"""What a sample shows, from when packets were sent and what came."""

from __future__ import annotations

from chaos.cloud.path_sample import Arrival, summary

SENT_S = [0.0, 1.0, 2.0, 3.0]


def arrival(number: int, *, after_s: float = 0.1, damaged: bool = False) -> Arrival:
    return Arrival(number, SENT_S[number] + after_s, damaged)


def test_all_that_come_in_order_are_fine() -> None:
    seen = summary(SENT_S, [arrival(number) for number in range(4)])
    assert (seen.sent, seen.arrived, seen.lost, seen.duplicates, seen.damaged, seen.overtaken) == (4, 4, 0, 0, 0, 0)
    assert (seen.delay_ms, seen.spread_ms) == (100.0, 0.0)


def test_each_harm_is_counted_for_itself() -> None:
    arrivals = [arrival(0), arrival(2), arrival(2, after_s=0.2), arrival(1, after_s=1.5, damaged=True)]
    seen = summary(SENT_S, arrivals)
    assert (seen.lost, seen.duplicates, seen.damaged, seen.overtaken) == (1, 1, 1, 1)
    assert seen.delay_ms == 100.0
    assert seen.spread_ms == 1400.0


def test_where_nothing_came_there_is_no_delay() -> None:
    seen = summary(SENT_S, [])
    assert (seen.lost, seen.delay_ms, seen.spread_ms) == (4, None, None)
