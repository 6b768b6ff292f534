"""`host_not_starved`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.events import Event, HostSampled, WorkloadStarted
from tests.checkers.histories import Story, judged


def host(**changes: float) -> Verdict:
    events: list[tuple[float, Event]] = [
        (t_s, event.model_copy(update=changes) if isinstance(event, HostSampled) else event)
        for t_s, event in Story().events()
    ]
    return judged("host_not_starved", events)


def test_host_not_starved_is_never_a_failure() -> None:
    assert host(cpu_busy=0.97).verdict == "pass"
    assert host(cpu_busy=1.0).verdict == "inconclusive"
    assert host(memory_free_mb=100.0).verdict == "inconclusive"
    assert host(disk_free_mb=100.0).verdict == "inconclusive"
    assert judged("host_not_starved", Story(without=(HostSampled,))).verdict == "inconclusive"
    assert judged("host_not_starved", Story(without=(WorkloadStarted,))).verdict == "inconclusive"


def busy_until(t_s: float, finished_s: float) -> Verdict:
    """The verdict on a job that began at 2 s, with the CPU busy to its limit up to a moment."""
    events = [
        (at_s, event.model_copy(update={"cpu_busy": 1.0}) if isinstance(event, HostSampled) and at_s <= t_s else event)
        for at_s, event in Story(finished_s=finished_s).events()
    ]
    return judged("host_not_starved", events)


def test_as_large_a_share_of_few_samples_says_less() -> None:
    short, long = busy_until(6.0, 8.0), busy_until(28.0, 40.0)
    assert (short.verdict, long.verdict) == ("pass", "inconclusive")
    assert (short.measured, short.bound) == (round(5 / 7, 3), round(0.5 + 7**-0.5, 3))
    assert (long.measured, long.bound) == (round(27 / 39, 3), round(0.5 + 39**-0.5, 3))
