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
from chaos.sim.ray import HEAD, NodeLost, RayModel

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


def test_a_node_that_is_ended_as_soon_as_it_was_started_and_is_started_again_joins_once() -> None:
    async def scene(model: RayModel) -> None:
        model.start("i-2", "gpu", GPU)
        model.end("i-2", politely=False)
        model.start("i-2", "gpu", GPU, delay_s=4.0)
        await asyncio.sleep(JOIN_S + 3.9)
        assert believed(model) == ["head", "i-1"]
        await asyncio.sleep(1.0)
        assert believed(model) == ["head", "i-1", "i-2"]

    play(scene)


def test_a_node_joins_some_time_after_it_was_started() -> None:
    async def scene(model: RayModel) -> None:
        model.start("i-2", "gpu", GPU, delay_s=4.0)
        await asyncio.sleep(JOIN_S + 3.9)
        assert believed(model) == ["head", "i-1"]
        await asyncio.sleep(0.2)
        assert believed(model) == ["head", "i-1", "i-2"]

    play(scene)


SILENT = pytest.mark.parametrize(
    ("frozen", "least_s", "most_s"),
    [
        (False, 4.0, 5.0),  # refused at once: four periods after the first check
        (True, 12.0, 13.0),  # unanswered: each check takes its limit, too
    ],
)


def silence(model: RayModel, *, frozen: bool) -> None:
    """The node is frozen, or it ends without a word."""
    if frozen:
        model.freeze("i-1")
    else:
        model.end("i-1", politely=False)


@SILENT
def test_the_gcs_learns_of_a_death_by_as_many_checks_as_it_waits_for(
    frozen: bool, least_s: float, most_s: float
) -> None:
    async def scene(model: RayModel) -> float:
        began_s = monotonic_s()
        silence(model, frozen=frozen)
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


@SILENT
def test_what_runs_on_a_node_that_does_not_answer_is_lost_when_the_gcs_knows(
    frozen: bool, least_s: float, most_s: float
) -> None:
    async def scene(model: RayModel) -> float:
        task = model.submit(ONE)
        began_s = monotonic_s()
        silence(model, frozen=frozen)
        with pytest.raises(NodeLost):
            await model.work(task, 1.0)
        return monotonic_s() - began_s

    assert least_s <= play(scene) <= most_s


def test_who_gives_up_work_on_a_dead_node_gives_its_room_back() -> None:
    async def scene(model: RayModel) -> None:
        task = model.submit(ONE)
        model.end("i-1", politely=False)
        working = asyncio.create_task(model.work(task, 1.0))
        await asyncio.sleep(2.0)
        working.cancel()
        await asyncio.wait({working})
        model.release(task)
        (node,) = (node for node in model.nodes() if node.instance == "i-1")
        assert (node.tasks, node.available) == ([], GPU)

    play(scene)


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
        assert model.crashed("i-1")
        assert believed(model) == ["head"]

    play(scene)


def test_checks_that_a_node_left_unanswered_before_it_ended_count() -> None:
    async def scene(model: RayModel) -> float:
        model.freeze("i-1")
        await asyncio.sleep(9.5)  # the first four checks have failed
        assert believed(model) == ["head", "i-1"]
        began_s = monotonic_s()
        model.end("i-1", politely=False)
        while "i-1" in believed(model):
            await asyncio.sleep(0.01)
        return monotonic_s() - began_s

    assert play(scene) <= 1.02, "one more, which is refused at once"


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
        assert [dead.instance for dead in model.dead()] == [node.instance]
        assert model.drain(node.ray_node_id, if_idle=True), "what is dead counts as drained"

    play(scene)


def test_a_drain_of_a_node_that_does_not_answer_waits_for_its_answer() -> None:
    async def scene(model: RayModel) -> None:
        node = model.nodes()[1]
        model.freeze("i-1")
        asked = model.drain(node.ray_node_id, if_idle=True)
        assert isinstance(asked, asyncio.Task)
        await asyncio.sleep(3.0)
        assert not asked.done()
        assert model.drain(node.ray_node_id, if_idle=False) is True, "what is to end in any case is not asked"
        model.thaw("i-1")
        assert await asked is True
        assert model.status_of(node) == "draining"

    play(scene)


@pytest.mark.parametrize("killed", [False, True])
def test_a_drain_of_a_node_that_dies_unheard_is_answered_when_the_gcs_knows(killed: bool) -> None:
    async def scene(model: RayModel) -> None:
        model.freeze("i-1")
        asked = model.drain(model.nodes()[1].ray_node_id, if_idle=True)
        assert isinstance(asked, asyncio.Task)
        if killed:
            model.end("i-1", politely=False)
            await asyncio.sleep(1.0)
            assert not asked.done()
        assert await asked is None
        assert believed(model) == ["head"]

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


def test_a_notice_to_a_node_that_does_not_move_comes_when_it_does() -> None:
    async def scene(model: RayModel) -> None:
        node = model.nodes()[1]
        model.freeze("i-1")
        model.drain_instance("i-1")
        assert model.status_of(node) == "idle"
        await asyncio.sleep(2.0)
        model.thaw("i-1")
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


def test_a_node_that_is_frozen_while_ray_starts_there_joins_so_much_later() -> None:
    async def scene(model: RayModel) -> None:
        model.start("i-2", "gpu", GPU)
        model.freeze("i-2")
        assert model.frozen("i-2")
        await asyncio.sleep(5.0)
        model.thaw("i-2")
        await asyncio.sleep(JOIN_S - 0.1)
        assert believed(model) == ["head", "i-1"]
        await asyncio.sleep(0.2)
        assert believed(model) == ["head", "i-1", "i-2"]

    play(scene)


def test_a_node_that_is_frozen_while_it_leaves_leaves_once_it_is_thawed() -> None:
    async def scene(model: RayModel) -> None:
        assert model.drain(model.nodes()[1].ray_node_id, if_idle=True)
        model.freeze("i-1")
        await asyncio.sleep(3.0)
        assert believed(model) == ["head", "i-1"]
        model.thaw("i-1")
        await asyncio.sleep(LEAVE_S + 0.1)
        assert believed(model) == ["head"]
        assert not model.crashed("i-1")  # its raylet ended well, and `ray start --block` goes on

    play(scene)


def test_ray_that_ends_by_itself_has_crashed_and_one_that_was_declared_dead_is_remembered() -> None:
    async def scene(model: RayModel) -> None:
        before = model.nodes()[1].ray_node_id
        model.freeze("i-1")
        await asyncio.sleep(20.0)
        assert not model.crashed("i-1")
        model.thaw("i-1")
        assert model.crashed("i-1")
        assert [dead.ray_node_id for dead in model.dead()] == [before]

    play(scene)


def test_while_the_gcs_hangs_nothing_joins_and_nothing_is_declared_dead() -> None:
    async def scene(model: RayModel) -> None:
        model.gcs.freeze()
        model.end("i-1", politely=False)
        model.start("i-2", "gpu", GPU)
        await asyncio.sleep(20.0)
        assert believed(model) == ["head", "i-1"]
        model.gcs.thaw()
        await asyncio.sleep(5.1)
        assert believed(model) == ["head", "i-2"]

    play(scene)


def test_while_the_gcs_hangs_it_does_not_hear_of_a_polite_end() -> None:
    async def scene(model: RayModel) -> None:
        model.gcs.freeze()
        model.end("i-1", politely=True)
        await asyncio.sleep(20.0)
        assert believed(model) == ["head", "i-1"]
        model.gcs.thaw()
        await asyncio.sleep(0.1)
        assert believed(model) == ["head"]

    play(scene)


def test_a_head_that_comes_back_is_another_one_and_knows_all_but_requests() -> None:
    async def scene(model: RayModel) -> None:
        answered: list[float] = []
        group, task = model.gather([ONE], "PACK"), model.submit(ONE)
        model.request([ONE])
        before = model.nodes()[0].ray_node_id
        model.end_head()
        model.end(HEAD, politely=False)
        model.start("i-2", "gpu", GPU)
        began_s = monotonic_s()
        model.return_head({"CPU": 1.0}, answers=lambda: answered.append(monotonic_s() - began_s))
        await asyncio.sleep(JOIN_S - 0.1)
        assert model.gcs.frozen
        assert not task.placed.done(), "nobody joins without it"
        await asyncio.sleep(0.2)
        assert answered == [pytest.approx(JOIN_S)]
        assert sorted(believed(model)) == ["head", "i-1", "i-2"]
        assert before in [dead.ray_node_id for dead in model.dead()]
        assert model.requested == ()
        assert [node.instance for node in group.nodes] == ["i-1"]
        assert task.placed.result().instance == "i-2"

    play(scene)
