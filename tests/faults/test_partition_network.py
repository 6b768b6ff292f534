"""`partition_network`: proven by every path between a victim and its peers being cut."""

from __future__ import annotations

import pytest

from chaos.events import Event, NodeDied, NodeJoined
from chaos.harm import NetworkShape
from faults.partition_network import PartitionNetwork
from tests.doubles import FakeCluster, node_named, site_of


@pytest.mark.parametrize(
    ("peers", "cut_from"), [("head", ("head",)), ("workers", ("w1", "w3")), ("all", ("head", "w1", "w3"))]
)
async def test_the_victim_is_cut_off_from_the_peers_there_are(peers: str, cut_from: tuple[str, ...]) -> None:
    cluster = FakeCluster()
    cluster.members["w4"] = node_named("w4", state="pending")
    site = site_of(cluster, "w2")
    await PartitionNetwork.model_validate({"peers": peers}).inject(site)
    assert cluster.effects["run.i1.w2"][2] == NetworkShape(cut=True, peers=cut_from)
    assert cluster.named("shape_network") == [("w2", "run.i1.w2", "20")]


def joined(*nodes: str, at_s: float = 5.0) -> list[tuple[float, Event]]:
    return [(at_s, NodeJoined(node=node, node_type="gpu", ray_node_id=f"r-{node}", resources={})) for node in nodes]


def died(node: str, at_s: float = 12.0) -> list[tuple[float, Event]]:
    return [(at_s, NodeDied(node=node, ray_node_id=f"r-{node}"))]


async def test_the_effect_shows_when_no_path_is_open() -> None:
    cluster, fault = FakeCluster(), PartitionNetwork(peers="all")
    site = site_of(cluster, "w1", events=joined("head", "w1", "w2", "w3"))
    before = await fault.probe(site)
    assert (before.outcome, before.detail) == ("no_effect", "3 of 3 paths are open")
    await PartitionNetwork(peers="head").inject(site)
    assert (await fault.probe(site)).outcome == "no_effect"
    cluster.effects.clear()
    await fault.inject(site)
    seen = await fault.probe(site)
    assert (seen.outcome, seen.measured, seen.asked, seen.unit) == ("took_effect", 3.0, 3.0, "paths")


async def test_a_worker_that_joins_later_was_never_cut_off() -> None:
    cluster, fault = FakeCluster(workers=2), PartitionNetwork(peers="all")
    site = site_of(cluster, "w1", events=joined("w1", "w2") + joined("w3", at_s=10.5))
    await fault.inject(site)
    cluster.members["w3"] = node_named("w3")
    seen = await fault.probe(site)
    assert (seen.outcome, seen.asked) == ("took_effect", 2.0)
    assert ("w1", "w3", "1") not in cluster.named("measure_path")
    cluster.effects["other"] = ("w1", False, NetworkShape(cut=True, peers=("w3",)), None)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).detail == "2 of 2 paths are open"


@pytest.mark.parametrize("peers", ["workers", "all"])
async def test_a_peer_that_died_since_counts_neither_way(peers: str) -> None:
    cluster, fault = FakeCluster(workers=3), PartitionNetwork.model_validate({"peers": peers})
    events = joined("w1", "w2", "w3") + died("w3")
    site = site_of(cluster, "w1", events=events)
    await fault.inject(site)
    assert (await fault.probe(site)).asked == (1.0 if peers == "workers" else 2.0)
    del cluster.members["w2"]  # gone, before the GCS has seen it
    assert (await fault.probe(site)).outcome == ("unknown" if peers == "workers" else "took_effect")
    assert (await fault.probe(site)).asked == (None if peers == "workers" else 1.0)


async def test_a_node_that_goes_while_its_paths_are_tried_is_no_proof() -> None:
    cluster, fault = FakeCluster(workers=2), PartitionNetwork(peers="workers")
    site = site_of(cluster, "w1", events=joined("w1", "w2"))

    def before(method: str) -> None:
        if method == "sample_path":
            cluster.members.pop("w2", None)

    cluster.before = before
    seen = await fault.probe(site)
    assert (seen.outcome, seen.detail) == ("unknown", "there is no peer to be cut off from")


async def test_without_peers_nothing_can_be_told() -> None:
    fault = PartitionNetwork(peers="workers")
    assert (await fault.probe(site_of(FakeCluster(workers=1), "w1", events=joined("w1")))).outcome == "unknown"
    gone = FakeCluster()
    del gone.members["w1"]
    assert (await fault.probe(site_of(gone, "w1", events=joined("w1", "w2", "w3")))).outcome == "unknown"


async def test_healing_is_proven_by_open_paths() -> None:
    cluster, fault = FakeCluster(), PartitionNetwork()
    site = site_of(cluster, "w1", "w2")
    await fault.inject(site)
    assert (await fault.probe_healed(site)).outcome == "took_effect"
    await fault.heal(site)
    await fault.heal(site)
    seen = await fault.probe_healed(site)
    assert (seen.outcome, seen.detail) == ("no_effect", "2 of 2 paths are open")


async def test_paths_that_stay_cut_are_no_healing() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    cluster, fault = Stuck(), PartitionNetwork()
    site = site_of(cluster, "w1")
    await fault.inject(site)
    seen = await fault.probe_healed(site)
    assert (seen.outcome, seen.detail) == ("took_effect", "1 of 1 paths are still cut")


async def test_a_cut_that_another_injection_keeps_is_not_held_against_this_one() -> None:
    cluster, fault = FakeCluster(), PartitionNetwork()
    site = site_of(cluster, "w1")
    await fault.inject(site)
    await cluster.shape_network("w1", NetworkShape(cut=True, peers=("head",)), effect_id="run.i2.w1", lease_s=9.0)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"
    assert list(cluster.effects) == ["run.i2.w1"]


async def test_a_node_can_be_cut_off_from_the_cloud() -> None:
    cluster, fault = FakeCluster(), PartitionNetwork(peers="cloud")
    site = site_of(cluster, "head")
    await fault.inject(site)
    assert cluster.effects["run.i1.head"][2] == NetworkShape(cut=True, peers=("cloud",))
    seen = await fault.probe(site)
    assert (seen.outcome, seen.asked) == ("took_effect", 1.0)
    assert {call[:2] for call in cluster.named("sample_path")} == {("head", "cloud"), ("cloud", "head")}


async def test_a_cut_of_one_way_is_looked_for_that_way_only() -> None:
    cluster, fault = FakeCluster(), PartitionNetwork(peers=("w2",), direction="in")
    site = site_of(cluster, "w1", events=joined("w1", "w2"))
    assert (await fault.probe(site)).outcome == "no_effect"
    await fault.inject(site)
    assert (await fault.probe(site)).outcome == "took_effect"
    assert {call[:2] for call in cluster.named("sample_path")} == {("w2", "w1")}
    await fault.heal(site)
    assert (await fault.probe_healed(site)).detail == "1 of 1 paths are open"
