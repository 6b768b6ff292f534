"""Whatever the schedule is, nothing stays in force, and no more is down than allowed."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.blast_radius import BlastRadius, workers_down
from chaos.cluster import Node
from chaos.events import (
    FaultHealed,
    FaultInjected,
    FaultProbed,
    FaultSkipped,
)
from chaos.history import History
from tests.doubles import node_named
from tests.nemesis.stage import STARTED, Stage

HARMS = st.fixed_dictionaries(
    {
        "fault": st.just("scripted"),
        "target": st.sampled_from(("w1", "w2", "all", "random", "w9")),
        "at_s": st.floats(0.0, 20.0),
        "duration_s": st.floats(0.1, 20.0),
    }
)


@settings(max_examples=40, deadline=None)
@given(harms=st.lists(HARMS, max_size=5), end_s=st.floats(0.0, 30.0), cancel=st.booleans(), seed=st.integers(0, 99))
def test_whatever_the_schedule_and_its_end_nothing_stays_and_all_is_told(
    harms: list[dict[str, Any]], end_s: float, cancel: bool, seed: int
) -> None:
    async def story() -> tuple[Stage, list[str]]:
        stage = Stage(*harms, seed=seed)
        await stage.play((0.0, STARTED))
        await stage.clock.advance_to(end_s)
        if cancel:
            stage.running.cancel()
            await asyncio.gather(stage.running, return_exceptions=True)
        else:
            await stage.end()
        return stage, [record.to_line() for record in stage.recorder]

    stage, lines = asyncio.run(story())
    assert not stage.cluster.effects
    injected = {event.injection for _, event in stage.recorder.of(FaultInjected)}
    healed = {event.injection for _, event in stage.recorder.of(FaultHealed)}
    skipped = {event.injection for _, event in stage.recorder.of(FaultSkipped)}
    assert injected == healed
    assert not injected & skipped
    if not cancel:
        assert injected | skipped == {f"i{place}" for place in range(1, len(harms) + 1)}
        assert {event.injection for _, event in stage.recorder.of(FaultProbed)} == injected
    assert asyncio.run(story())[1] == lines


@settings(max_examples=40, deadline=None)
@given(harms=st.lists(HARMS, max_size=6), limit=st.integers(0, 3), seed=st.integers(0, 99))
def test_whatever_the_schedule_no_more_is_down_than_allowed(harms: list[dict[str, Any]], limit: int, seed: int) -> None:
    async def story() -> Stage:
        stage = Stage(*harms, seed=seed, blast_radius=BlastRadius(max_nodes_down=limit))
        stage.cluster.slow_s["pause_node"] = 0.5
        await stage.play((0.0, STARTED))
        await stage.end(at_s=50.0)
        return stage

    history = asyncio.run(story()).recorder
    most = max(len(workers_down(History(list(history)[:count]))) for count in range(len(history) + 1))
    assert most <= limit
    made = {event.injection for _, event in history.of(FaultInjected)}
    told = made | {event.injection for _, event in history.of(FaultSkipped)}
    assert told == {f"i{place}" for place in range(1, len(harms) + 1)}


def test_the_double_resolves_nodes_as_a_cluster_does() -> None:
    assert node_named("w3") == Node(node="w3", node_type="gpu", state="running", instance="i-00003")
