"""What the autoscaler is shown under harm to its views, while everybody else sees the cluster as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ray.core.generated.autoscaler_pb2 import ClusterResourceState, NodeState, NodeStatus

from chaos.cloud.answers import Deviations
from chaos.cloud.instances import ActiveEffect
from chaos.cluster_spec import ClusterSpec, HealthCheck, NodeType
from chaos.clusters.sim import SimCluster
from chaos.events import GcsAnsweredWrong, Resources
from chaos.harm import LaggedViews, OmittedView, RefusedDrains, ViewHarm
from chaos.sim.books import Events
from chaos.sim.latency import Latencies, LogNormal
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.ray import RayModel
from chaos.sim.views import Views

ONE: Resources = {"CPU": 1.0, "GPU": 1.0}
NODE: Resources = {"CPU": 2.0, "GPU": 1.0}


class Scene:
    """A model with one node, its views, and the harm in force."""

    def __init__(self) -> None:
        exact = Latencies(join=LogNormal(median_s=1.0), leave=LogNormal(median_s=0.5))
        self.model = RayModel(health_check=HealthCheck(), latencies=exact, seed=3)
        self.effects: list[ActiveEffect] = []
        self.told = Events()
        self.deviations = Deviations(self.told)
        self.views = Views(self.model, lambda: self.effects, self.deviations, session="s")

    def harm(self, harm: ViewHarm, instance: str = "") -> None:
        effect = ActiveEffect(
            effect_id="e1", applied_monotonic_s=0.0, expires_monotonic_s=1e9, harm=harm, instance=instance
        )
        self.effects = [effect]

    def node(self) -> NodeState:
        return worker(self.views.shown().state)

    def wrong(self) -> list[tuple[str, int]]:
        events = (event for _, event in self.told._events)
        return [(event.how, event.count) for event in events if isinstance(event, GcsAnsweredWrong)]


def worker(state: ClusterResourceState) -> NodeState:
    return next(node for node in state.node_states if node.instance_id == "i-1")


def play(scene: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        one = Scene()
        one.model.start_head({"CPU": 1.0})
        one.model.start("i-1", "gpu", NODE)
        await asyncio.sleep(2.0)
        try:
            await scene(one)
        finally:
            one.model.close()

    run_in_virtual_time(main)


def test_a_view_that_lags_shows_a_node_idle_that_has_work_and_the_time_goes_on() -> None:
    async def scene(one: Scene) -> None:
        one.harm(LaggedViews(age_s=5.0))
        before = one.node()
        assert (before.status, before.idle_duration_ms) == (NodeStatus.IDLE, 1000)
        one.model.submit(ONE)
        one.model.submit(ONE)
        await asyncio.sleep(3.0)
        shown = one.views.shown().state
        assert worker(shown).status == NodeStatus.IDLE
        assert worker(shown).idle_duration_ms == 4000
        assert dict(worker(shown).available_resources) == NODE
        assert not shown.pending_resource_requests
        assert one.model.demands() == [(ONE, 1)], "the others see it"
        await asyncio.sleep(5.1)
        shown = one.views.shown().state
        assert worker(shown).status == NodeStatus.RUNNING
        assert [item.count for item in shown.pending_resource_requests] == [1]
        assert one.wrong() == [("lagged", 1)]
        one.effects = []
        assert one.node().status == NodeStatus.RUNNING

    play(scene)


def test_who_joins_and_who_dies_is_no_matter_of_views() -> None:
    async def scene(one: Scene) -> None:
        one.harm(LaggedViews(age_s=5.0))
        one.views.shown()
        one.model.start("i-2", "gpu", NODE)
        await asyncio.sleep(1.1)
        one.model.end("i-1", politely=True)
        states = {node.instance_id: node for node in one.views.shown().state.node_states}
        assert states["i-1"].status == NodeStatus.DEAD
        assert (states["i-2"].status, dict(states["i-2"].available_resources)) == (NodeStatus.RUNNING, NODE)

    play(scene)


def test_a_node_is_left_out_as_often_as_asked() -> None:
    async def scene(one: Scene) -> None:
        one.harm(OmittedView(answers=2), "i-1")
        shown = [[node.instance_id for node in one.views.shown().state.node_states] for _ in range(3)]
        assert shown == [["head"], ["head"], ["head", "i-1"]]
        one.effects = []
        one.deviations.settle("e1")
        assert one.wrong() == [("left_out", 1), ("left_out", 1)]

    play(scene)


def test_drains_for_idleness_are_refused_and_others_are_not() -> None:
    async def scene(one: Scene) -> None:
        node = one.model.nodes()[1].ray_node_id
        one.harm(RefusedDrains(count=1))
        assert one.views.drain(node, True) is False
        assert one.wrong() == [("refused", 1)]
        assert one.views.drain(node, True) is True

    play(scene)
    play(unrefused)


async def unrefused(one: Scene) -> None:
    one.harm(RefusedDrains())
    assert one.views.drain(one.model.nodes()[1].ray_node_id, False) is True


def test_what_was_shown_is_told_when_the_harm_is_over_and_not_at_the_next_update() -> None:
    kinds = {"gpu": NodeType(resources=NODE, min_workers=1, max_workers=1)}
    spec = ClusterSpec(kind="sim", node_types=kinds, max_workers=1, update_interval_s=30)

    async def main() -> None:
        cluster = SimCluster("twin", spec)
        await cluster.start()
        await cluster.fault_views(OmittedView(), effect_id="e", lease_s=100.0, node="w1")
        for _ in range(3):
            cluster._monitor._views.shown()
        await cluster.undo("e")
        told = [event for _, event in cluster._events._events if isinstance(event, GcsAnsweredWrong)]
        assert [(event.effect, event.how, event.count) for event in told] == [
            ("e", "left_out", 1),
            ("e", "left_out", 2),
        ]
        await cluster.stop()

    run_in_virtual_time(main)
