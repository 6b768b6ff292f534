"""When packets are due, and what the process is told; `test_network_kernel` shows the process at work."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.cloud.netlink_queue import Packet
from chaos.cloud.packet_queue import HOLDS, QUEUE_IN, QUEUE_OUT, Hold, Orders, Timetable

FIRST, SECOND = HOLDS[:2]


def timetable(*holds: Hold) -> Timetable:
    table = Timetable(random.Random(7))
    table.obey(holds)
    return table


def departures(table: Timetable) -> list[int]:
    """The numbers of all packets, in the order they go."""
    numbers = []
    while (due := table.due(float("inf"))) is not None:
        numbers.append(due[1].number)
    return numbers


def test_orders_survive_the_way_to_the_process() -> None:
    orders = Orders((Hold(FIRST, 50.0, 5.0, 25.0), Hold(SECOND, 20.0, ordered=False)), content=True)
    assert Orders.of_line(orders.line()) == orders
    assert orders.line().count(b"\n") == 1


def test_a_packet_goes_when_its_time_has_come() -> None:
    table = timetable(Hold(FIRST, 50.0))
    table.add(QUEUE_OUT, Packet(1, FIRST, b""), 10.0)
    assert table.next_s() == pytest.approx(10.05)
    assert table.due(10.04) is None
    assert table.due(10.06) == (QUEUE_OUT, Packet(1, FIRST, b""))
    assert table.next_s() is None


def test_delays_of_several_shapes_add_up() -> None:
    table = timetable(Hold(FIRST, 50.0), Hold(SECOND, 20.0))
    table.add(QUEUE_OUT, Packet(1, FIRST | SECOND, b""), 0.0)
    assert table.next_s() == pytest.approx(0.07)


@given(st.lists(st.floats(0.0, 0.05), min_size=1, max_size=50), st.floats(0.0, 100.0))
def test_jitter_never_changes_the_order(gaps_s: list[float], correlation_percent: float) -> None:
    table = timetable(Hold(FIRST, 50.0, 50.0, correlation_percent))
    now_s = 0.0
    for number, gap_s in enumerate(gaps_s):
        now_s += gap_s
        table.add(QUEUE_OUT, Packet(number, FIRST, b""), now_s)
    assert departures(table) == list(range(len(gaps_s)))


def test_a_late_packet_is_overtaken_and_keeps_nobody_back() -> None:
    table = timetable(Hold(FIRST, 20.0, ordered=False))
    table.add(QUEUE_OUT, Packet(1, FIRST, b""), 0.0)
    table.add(QUEUE_OUT, Packet(2, 0, b""), 0.001)
    assert departures(table) == [2, 1]


def test_what_waits_is_counted() -> None:
    table = timetable(Hold(FIRST, 50.0))
    for number in range(3):
        table.add(QUEUE_OUT, Packet(number, FIRST, b""), 0.0)
    assert len(table) == 3
    departures(table)
    assert len(table) == 0


def test_the_ways_do_not_wait_for_each_other() -> None:
    table = timetable(Hold(FIRST, 50.0), Hold(SECOND, 1.0))
    table.add(QUEUE_OUT, Packet(1, FIRST, b""), 0.0)
    table.add(QUEUE_OUT, Packet(2, SECOND, b""), 0.0)
    table.add(QUEUE_IN, Packet(3, SECOND, b""), 0.0)
    assert departures(table) == [2, 3, 1]


@given(st.floats(0.0, 100.0), st.floats(0.0, 50.0), st.floats(0.0, 100.0))
def test_a_draw_is_within_the_jitter(delay_ms: float, jitter_ms: float, correlation_percent: float) -> None:
    hold, chance = Hold(FIRST, delay_ms, jitter_ms, correlation_percent), random.Random(1)
    for _ in range(20):
        drawn_ms = hold.draw_s(chance) * 1000.0
        assert max(0.0, delay_ms - jitter_ms) - 1e-6 <= drawn_ms <= delay_ms + jitter_ms + 1e-6
