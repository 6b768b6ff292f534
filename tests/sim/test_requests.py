"""Requests of the autoscaler: each replaces the last one, and Ray Data's expire when they are not renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from chaos.cluster_spec import HealthCheck
from chaos.events import Resources
from chaos.sim.latency import Latencies
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.node import RayNode
from chaos.sim.ray import RayModel
from chaos.sim.requests import TICK_S, Coordinator
from chaos.sim.shown import AsItIs

GPU: Resources = {"GPU": 1.0}
CPU: Resources = {"CPU": 1.0}


def node() -> RayNode:
    total = {"CPU": 1.0}
    return RayNode(ray_node_id="1", instance="head", node_type="head", total=total, available=total, joined_s=0.0)


def play(scene: Callable[[Coordinator, list[list[Resources]], RayNode], Awaitable[None]]) -> None:
    async def main() -> None:
        sent: list[list[Resources]] = []

        def request(bundles: Sequence[Resources]) -> None:
            sent.append(list(bundles))

        coordinator = Coordinator(request)
        try:
            await scene(coordinator, sent, node())
        finally:
            coordinator.close()

    run_in_virtual_time(main)


def test_what_requesters_want_is_added_up_and_sent_when_it_changes() -> None:
    async def scene(coordinator: Coordinator, sent: list[list[Resources]], home: RayNode) -> None:
        coordinator.ask("a", [GPU, GPU], expire_after_s=15.0, home=home)
        coordinator.ask("b", [CPU], expire_after_s=15.0, home=home)
        coordinator.ask("b", [CPU], expire_after_s=15.0, home=home)
        coordinator.withdraw("a")
        coordinator.withdraw("a")
        assert sent == [[GPU, GPU], [GPU, GPU, CPU], [CPU]]

    play(scene)


def test_what_is_not_asked_for_again_is_forgotten_at_the_next_tick_after_its_expiry() -> None:
    async def scene(coordinator: Coordinator, sent: list[list[Resources]], home: RayNode) -> None:
        coordinator.ask("a", [GPU], expire_after_s=15.0, home=home)
        await asyncio.sleep(TICK_S - 0.1)
        assert sent[-1] == [GPU], "expired, and nobody has looked"
        await asyncio.sleep(0.2)
        assert sent[-1] == []

    play(scene)


def test_a_request_that_another_sees_expire_goes_with_its_own() -> None:
    async def scene(coordinator: Coordinator, sent: list[list[Resources]], home: RayNode) -> None:
        coordinator.ask("a", [GPU], expire_after_s=5.0, home=home)
        await asyncio.sleep(6.0)
        coordinator.ask("b", [CPU], expire_after_s=5.0, home=home)
        assert sent[-1] == [CPU]

    play(scene)


def test_it_ends_with_its_node_and_what_it_requested_stays_until_somebody_asks_anew() -> None:
    async def scene(coordinator: Coordinator, sent: list[list[Resources]], home: RayNode) -> None:
        coordinator.ask("a", [GPU], expire_after_s=15.0, home=home)
        home.end()
        coordinator.withdraw("a")
        await asyncio.sleep(3 * TICK_S)
        assert sent == [[GPU]], "nobody is left for whom it expires"
        other = node()
        coordinator.ask("b", [CPU], expire_after_s=15.0, home=other)
        assert sent[1:] == [[CPU]]
        await asyncio.sleep(TICK_S + 0.1)
        assert sent[2:] == [[]]

    play(scene)


def test_on_a_node_that_is_frozen_nobody_looks_for_what_has_expired() -> None:
    async def scene(coordinator: Coordinator, sent: list[list[Resources]], home: RayNode) -> None:
        coordinator.ask("a", [GPU], expire_after_s=15.0, home=home)
        home.freeze()
        await asyncio.sleep(3 * TICK_S)
        assert sent == [[GPU]]
        home.thaw()
        await asyncio.sleep(TICK_S + 0.1)
        assert sent[1:] == [[]]

    play(scene)


def test_rays_data_takes_away_what_others_requested() -> None:
    """It sends what it wants every 20 s, also when that is nothing, and the GCS keeps one request."""

    async def main() -> None:
        model = RayModel(health_check=HealthCheck(), latencies=Latencies(), seed=1)
        model.start_head({"CPU": 1.0})
        (home,) = model.nodes()
        model.coordinator.ask("job", [GPU], expire_after_s=15.0, home=home)
        model.coordinator.withdraw("job")
        model.request([CPU, CPU])
        (constraint,) = AsItIs(model, session="s").state.cluster_resource_constraints
        ((item,),) = (constraint.resource_requests,)
        assert (dict(item.request.resources_bundle), item.count) == (CPU, 2)
        await asyncio.sleep(TICK_S + 0.1)
        assert not AsItIs(model, session="s").state.cluster_resource_constraints
        model.close()

    run_in_virtual_time(main)
