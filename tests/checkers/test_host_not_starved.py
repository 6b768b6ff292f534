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
