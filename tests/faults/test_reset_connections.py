"""`reset_connections`: proven by connections that the victim's kernel no longer has."""

from __future__ import annotations

import pytest

from chaos.events import Event, NodeDied, NodeTerminated
from chaos.harm import NetworkShape
from faults.reset_connections import ResetConnections
from tests.doubles import FakeCluster, injected, site_of


async def test_connections_to_the_peers_are_gone() -> None:
    cluster, fault = FakeCluster(), ResetConnections(peers="all")
    site = await injected(fault, site_of(cluster, "w1"))
    assert cluster.effects["run.i1.w1"][2] == NetworkShape(reset=True, peers=("head", "w2", "w3"))
    assert set(site.before) == {("w1", peer, "40000", "6379") for peer in ("head", "w2", "w3")}
    seen = await fault.probe(site)
    assert (seen.outcome, seen.measured, seen.asked, seen.unit) == ("took_effect", 3.0, 3.0, "connections")


async def test_connections_that_stay_are_no_effect() -> None:
    cluster, fault = FakeCluster(), ResetConnections()
    cluster.harmless = True
    site = await injected(fault, site_of(cluster, "w1"))
    assert (await fault.probe(site)).outcome == "no_effect"


async def test_without_a_connection_nothing_can_be_told() -> None:
    cluster, fault = FakeCluster(), ResetConnections(ports=(1234,))
    site = await injected(fault, site_of(cluster, "w1"))
    assert not site.before
    assert (await fault.probe(site)).outcome == "unknown"


async def test_healing_is_proven_by_a_new_connection() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    cluster, fault = Stuck(), ResetConnections()
    site = await injected(fault, site_of(cluster, "w1"))
    assert (await fault.probe_healed(site)).outcome == "took_effect"
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"


async def test_a_victim_that_died_proves_nothing() -> None:
    cluster, fault = FakeCluster(), ResetConnections()
    cluster.harmless = True
    site = await injected(fault, site_of(cluster, "w1"))
    del cluster.members["w1"]
    seen = await fault.probe(site)
    assert (seen.outcome, seen.detail) == ("unknown", "of every connection there was, an end has died")


@pytest.mark.parametrize("event", [NodeDied(node="w2", ray_node_id="a"), NodeTerminated(node="w2", cause="exited")])
async def test_connections_to_a_peer_that_died_do_not_count(event: Event) -> None:
    cluster, fault = FakeCluster(workers=2), ResetConnections(peers="all")
    cluster.harmless = True
    site = await injected(fault, site_of(cluster, "w1", events=[(11.0, event)]))
    seen = await fault.probe(site)
    assert (seen.outcome, seen.measured, seen.asked) == ("no_effect", 0.0, 1.0)
    cluster.harmless = False
    seen = await fault.probe(site)
    assert (seen.outcome, seen.measured, seen.asked) == ("took_effect", 1.0, 1.0)
