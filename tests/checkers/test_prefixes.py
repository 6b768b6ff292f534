"""A history cut off anywhere never makes a checker raise, nor pass."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.checkers import ALL, evaluate
from chaos.diagnosis import diagnose
from chaos.events import FaultInjected, RunOpened
from chaos.history import History
from tests.checkers.histories import Story, Timed, Worker, fault, four_workers, judgements, one_injection, opened


def eventful() -> list[Timed]:
    workers = [*four_workers()[:3], Worker("w4", 4.0, 8.0, kill_s=20.0, dead_s=20.5), Worker("w5", 21.0, 27.0)]
    more = [
        *fault("i1", 19.9, victims=("w4",)),
        *fault("i2", 20.5, heal_due_s=24.0, asked_s=2.0),
        *fault("i3", 30.0, victims=("w1",), heal_due_s=33.0),
    ]
    injections = [{**one_injection(), "id": name} for name in ("i1", "i2", "i3")]
    return Story(workers=workers, more=more, opening=opened(injections=injections)).events()


def test_the_eventful_run_passes_as_a_whole() -> None:
    assert set(judgements(History.of_events(eventful())).values()) == {"pass"}


@pytest.mark.parametrize("checker", ALL, ids=lambda one: one.name)
def test_no_checker_raises_or_passes_on_a_prefix(checker: object) -> None:
    assert callable(checker)
    events = eventful()
    for length in range(len(events)):
        verdict = checker(History.of_events(events[:length]))
        assert verdict.verdict != "pass", f"passed after {length} of {len(events)} events"


def test_the_diagnosis_does_not_raise_on_a_prefix() -> None:
    events = eventful()
    for length in range(0, len(events), 3):
        history = History.of_events(events[:length])
        assert all(0 <= seq < length for one in diagnose(history, evaluate(history)) for seq in one.evidence)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_checker_raises_on_a_history_with_holes(data: st.DataObject) -> None:
    events = eventful()
    kinds = sorted({type(event) for _, event in events} - {RunOpened}, key=lambda kind: kind.__name__)
    dropped = tuple(data.draw(st.sets(st.sampled_from(kinds), max_size=6)))
    shift_s = data.draw(st.floats(-5.0, 5.0))
    holed = [
        (t_s + shift_s if isinstance(event, FaultInjected) else t_s, event)
        for t_s, event in events
        if not isinstance(event, dropped)
    ]
    history = History.of_events(holed)
    for checker in ALL:
        checker(history)
    diagnose(history, evaluate(history))
