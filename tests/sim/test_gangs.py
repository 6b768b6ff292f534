"""Placement groups of the model: room for all bundles or none, as the strategy wants it, and anew after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chaos.cluster_spec import HealthCheck
from chaos.events import Resources
from chaos.sim.gangs import Gang
from chaos.sim.latency import Latencies, LogNormal
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.ray import RayModel
from chaos.sim.shown import AsItIs
from chaos.sim.state import sample
from chaos.workload import Strategy

ONE: Resources = {"CPU": 1.0, "GPU": 1.0}
NODE: Resources = {"CPU": 4.0, "GPU": 2.0}
JOIN_S = 2.0


def play(scene: Callable[[RayModel], Awaitable[None]], *, nodes: int = 2) -> None:
    """A scene on a model with a head, and nodes that hold two bundles each."""

    async def main() -> None:
        exact = Latencies(join=LogNormal(median_s=JOIN_S), warm_up=LogNormal(median_s=0.0))
        model = RayModel(health_check=HealthCheck(initial_delay_ms=0), latencies=exact, seed=7)
        model.start_head({"CPU": 1.0})
        for number in range(1, nodes + 1):
            model.start(f"i-{number}", "gpu", NODE)
        await asyncio.sleep(JOIN_S + 1.0)
        try:
            await scene(model)
        finally:
            model.close()

    run_in_virtual_time(main)


def where(gang: Gang) -> list[str]:
    return [node.instance for node in gang.nodes]


@pytest.mark.parametrize(
    ("strategy", "size", "expected"),
    [
        ("PACK", 2, ["i-1", "i-1"]),
        ("PACK", 3, ["i-1", "i-1", "i-2"]),
        ("SPREAD", 2, ["i-1", "i-2"]),
        ("SPREAD", 3, ["i-1", "i-2", "i-1"]),
        ("STRICT_PACK", 2, ["i-1", "i-1"]),
        ("STRICT_PACK", 3, []),
        ("STRICT_SPREAD", 2, ["i-1", "i-2"]),
        ("STRICT_SPREAD", 3, []),
        ("PACK", 5, []),
    ],
)
def test_bundles_are_placed_as_the_strategy_wants_it_or_not_at_all(
    strategy: Strategy, size: int, expected: list[str]
) -> None:
    async def scene(model: RayModel) -> None:
        gang = model.gather([ONE] * size, strategy)
        assert where(gang) == expected
        assert len(gang.waiting) == (0 if expected else size)
        used = sum(NODE["GPU"] - node.available.get("GPU", 0.0) for node in model.nodes()[1:])
        assert used == len(expected)
        model.disband(gang)
        assert [node.available for node in model.nodes()[1:]] == [NODE, NODE]

    play(scene)


def test_a_group_that_waits_gets_its_room_when_the_last_node_joins() -> None:
    async def scene(model: RayModel) -> None:
        gang = model.gather([ONE] * 2, "STRICT_SPREAD")
        assert where(gang) == []
        model.start("i-2", "gpu", NODE)
        await asyncio.sleep(JOIN_S + 0.1)
        assert where(gang) == ["i-1", "i-2"]

    play(scene, nodes=1)


def test_a_bundle_whose_node_is_lost_waits_for_another_and_the_rest_keep_theirs() -> None:
    async def scene(model: RayModel) -> None:
        gang = model.gather([ONE] * 2, "STRICT_SPREAD")
        model.end("i-1", politely=True)
        assert [node.instance for node in gang.nodes] == ["i-2"]
        (request,) = AsItIs(model, session="s").state.pending_gang_resource_requests
        assert [dict(bundle.resources_bundle) for bundle in request.requests] == [ONE]
        (bound,) = request.requests[0].placement_constraints
        [held] = [node for node in AsItIs(model, session="s").state.node_states if node.dynamic_labels]
        assert held.instance_id == "i-2"
        assert dict(held.dynamic_labels) == {bound.anti_affinity.label_name: ""}
        (told,) = sample(model, {})["demands"]
        assert (told["count"], told["not_on"]) == (1, ["i-2"])
        model.start("i-3", "gpu", NODE)
        await asyncio.sleep(JOIN_S + 0.1)
        assert where(gang) == ["i-3", "i-2"]

    play(scene)


def test_a_process_that_is_killed_in_a_bundle_costs_its_task_and_not_the_bundles_room() -> None:
    async def scene(model: RayModel) -> None:
        gang = model.gather([ONE], "PACK")
        (task,) = gang.bundles
        model.fail_task("i-1", task.number)
        assert task.lost.done()
        assert where(gang) == ["i-1"]
        assert model.nodes()[1].available["GPU"] == 1.0

    play(scene, nodes=1)


@pytest.mark.parametrize(
    ("strategy", "shapes"),
    [
        ("PACK", [(ONE, 3, False)]),
        ("STRICT_SPREAD", [(ONE, 3, True)]),
        ("STRICT_PACK", [({"CPU": 3.0, "GPU": 3.0}, 1, False)]),
    ],
)
def test_a_sample_tells_what_waits_of_a_group(strategy: Strategy, shapes: list[tuple[Any, int, bool]]) -> None:
    async def scene(model: RayModel) -> None:
        model.gather([ONE] * 3, strategy)
        told = sample(model, {})["demands"]
        assert [(one["shape"], one["count"], one["apart"]) for one in told] == shapes
        assert {one["source"] for one in told} == {"placement_group"}

    play(scene, nodes=1)
