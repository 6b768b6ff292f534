"""The model of Ray: what is true of a node, and what the GCS believes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from chaos.clock import monotonic_s
from chaos.cluster_spec import HealthCheck
from chaos.sim.latency import Latencies, LogNormal
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.ray import NodeLost, RayModel

GPU = {"CPU": 2.0, "GPU": 1.0}
ONE = {"CPU": 1.0, "GPU": 1.0}
JOIN_S, LEAVE_S = 2.0, 0.5
CHECK = HealthCheck(initial_delay_ms=1000, period_ms=1000, timeout_ms=2000, failure_threshold=5)
EXACT = Latencies(join=LogNormal(median_s=JOIN_S), leave=LogNormal(median_s=LEAVE_S), warm_up=LogNormal(median_s=0.0))

T = TypeVar("T")


def play(scene: Callable[[RayModel], Awaitable[T]]) -> T:
    """A scene on a model with a head and one node."""

    async def main() -> T:
        model = RayModel(health_check=CHECK, latencies=EXACT, seed=7)
        model.start_head({"CPU": 1.0})
        model.start("i-1", "gpu", GPU)
        await asyncio.sleep(JOIN_S + 1.0)
        try:
            return await scene(model)
        finally:
            model.close()

    return run_in_virtual_time(main)


def believed(model: RayModel) -> list[str]:
    return [node.instance for node in model.nodes()]


def test_a_node_joins_some_time_after_it_was_started() -> None:
    async def scene(model: RayModel) -> None:
        model.start("i-2", "gpu", GPU, delay_s=4.0)
        await asyncio.sleep(JOIN_S + 3.9)
        assert believed(model) == ["head", "i-1"]
        await asyncio.sleep(0.2)
        assert believed(model) == ["head", "i-1", "i-2"]

    play(scene)


@pytest.mark.parametrize(
    ("frozen", "least_s", "most_s"),
    [
        (False, 4.0, 5.0),  # refused at once: four periods after the first check
        (True, 12.0, 13.0),  # unanswered: each check takes its limit, too
    ],
)
def test_the_gcs_learns_of_a_death_by_as_many_checks_as_it_waits_for(
    frozen: bool, least_s: float, most_s: float
) -> None:
    async def scene(model: RayModel) -> float:
        began_s = monotonic_s()
        if frozen:
            model.freeze("i-1")
        else:
            model.end("i-1", politely=False)
        while "i-1" in believed(model):
            await asyncio.sleep(0.01)
        return monotonic_s() - began_s

    assert least_s <= play(scene) <= most_s + 0.02


def test_a_node_that_moved_between_two_freezes_is_missed_from_the_second_on() -> None:
    async def scene(model: RayModel) -> None:
        for _ in range(2):
            model.freeze("i-1")
            await asyncio.sleep(8.0)
            assert believed(model) == ["head", "i-1"]
            model.thaw("i-1")
            await asyncio.sleep(1.0)

    play(scene)


def test_a_polite_end_is_known_at_once() -> None:
    async def scene(model: RayModel) -> list[str]:
        model.end("i-1", politely=True)
        return believed(model)

    assert play(scene) == ["head"]


def test_a_task_waits_for_room_and_then_holds_it() -> None:
    async def scene(model: RayModel) -> None:
        first, second = model.submit(ONE), model.submit(ONE)
        assert first.placed.done()
        assert not second.placed.done()
        assert model.demands() == [(ONE, 1)]
        node = model.nodes()[1]
        assert (model.status_of(node), node.available) == ("running", {"CPU": 1.0, "GPU": 0.0})
        model.release(first)
        assert second.placed.done()
        assert model.demands() == []
        model.release(second)
        await asyncio.sleep(3.0)
        assert (model.status_of(node), model.idle_s(node), node.available) == ("idle", 3.0, GPU)

    play(scene)


def test_what_runs_on_a_dead_node_is_lost_when_the_gcs_knows() -> None:
    async def scene(model: RayModel) -> float:
        task = model.submit(ONE)
        began_s = monotonic_s()
        model.end("i-1", politely=False)
        with pytest.raises(NodeLost):
            await model.work(task, 1.0)
        return monotonic_s() - began_s

    assert 4.0 <= play(scene) <= 5.0


def test_time_stands_still_for_work_on_a_frozen_node() -> None:
    async def scene(model: RayModel) -> float:
        task = model.submit(ONE)
        working = asyncio.create_task(model.work(task, 2.0))
        began_s = monotonic_s()
        await asyncio.sleep(0.5)
        model.freeze("i-1")
        await asyncio.sleep(3.0)
        model.thaw("i-1")
        await working
        return monotonic_s() - began_s

    assert play(scene) == pytest.approx(5.0)


def test_a_node_that_is_frozen_for_longer_than_the_gcs_waits_ends_itself() -> None:
    async def scene(model: RayModel) -> None:
        model.freeze("i-1")
        await asyncio.sleep(20.0)
        assert model.runs("i-1")
        model.thaw("i-1")
        assert not model.runs("i-1")
        assert believed(model) == ["head"]

    play(scene)


def test_a_dead_node_is_missed_also_while_its_instance_is_frozen_and_thawed() -> None:
    async def scene(model: RayModel) -> None:
        model.end("i-1", politely=False)
        model.freeze("i-1")
        model.thaw("i-1")
        await asyncio.sleep(6.0)
        assert believed(model) == ["head"]

    play(scene)


def test_a_thaw_of_a_node_that_moves_changes_nothing() -> None:
    async def scene(model: RayModel) -> float:
        task, began_s = model.submit(ONE), monotonic_s()
        working = asyncio.create_task(model.work(task, 2.0))
        await asyncio.sleep(1.9)
        model.thaw("i-1")
        await working
        return monotonic_s() - began_s

    assert play(scene) == pytest.approx(2.0)


def test_who_is_cancelled_while_it_waits_gets_no_room() -> None:
    async def scene(model: RayModel) -> None:
        first, second = model.submit(ONE), model.submit(ONE)
        second.placed.cancel()
        model.release(first)
        model.release(second)
        assert model.status_of(model.nodes()[1]) == "idle"

    play(scene)


@pytest.mark.parametrize("frozen", [False, True])
def test_of_what_is_gone_nothing_is_kept(frozen: bool) -> None:
    async def scene(model: RayModel) -> None:
        if frozen:
            model.freeze("i-1")
            await asyncio.sleep(20.0)
        model.end("i-1", politely=False)
        await asyncio.sleep(20.0)
        assert [node.instance for node in model._nodes.values()] == ["head"]

    play(scene)


def test_a_drain_is_refused_by_a_node_that_is_busy_and_ends_one_that_is_not() -> None:
    async def scene(model: RayModel) -> None:
        node = model.nodes()[1]
        task = model.submit(ONE)
        assert not model.drain(node.ray_node_id, if_idle=True)
        model.release(task)
        assert model.drain(node.ray_node_id, if_idle=True)
        assert model.status_of(node) == "draining"
        assert not model.submit(ONE).placed.done()
        await asyncio.sleep(LEAVE_S + 0.1)
        assert believed(model) == ["head"]
        assert not model.drain(node.ray_node_id, if_idle=True)

    play(scene)


def test_a_preempted_node_finishes_what_runs_there_and_leaves() -> None:
    async def scene(model: RayModel) -> None:
        task = model.submit(ONE)
        model.drain_instance("i-1")
        await model.work(task, 1.0)
        model.release(task)
        await asyncio.sleep(LEAVE_S + 0.1)
        assert believed(model) == ["head"]

    play(scene)


def test_a_node_that_comes_back_is_another_one() -> None:
    async def scene(model: RayModel) -> None:
        before = model.nodes()[1].ray_node_id
        model.end("i-1", politely=False)
        model.start("i-1", "gpu", GPU)
        await asyncio.sleep(JOIN_S + 0.1)
        assert believed(model) == ["head", "i-1", "i-1"]
        await asyncio.sleep(4.0)
        assert believed(model) == ["head", "i-1"]
        assert model.nodes()[1].ray_node_id != before

    play(scene)
