"""`throttle_network`: proven by a transfer that takes as long as it should."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.cluster import PathMeasurement
from chaos.errors import InjectionError
from chaos.harm import NetworkShape
from faults.throttle_network import ThrottleNetwork
from tests.doubles import OPEN_MBIT, FakeCluster, injected, node_named, site_of

FAULT = ThrottleNetwork(rate_mbit=5.0)


async def test_each_victim_is_shaped_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await FAULT.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("shape_network") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]
    assert cluster.effects["run.i1.w1"][2] == NetworkShape(rate_mbit=5.0)


async def test_every_path_is_measured_before_and_after_in_both_directions() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    both_ways = {("w1", "head"), ("head", "w1"), ("w2", "head"), ("head", "w2")}
    assert site.before == dict.fromkeys(both_ways, OPEN_MBIT)
    assert [call[0] for call in cluster.calls][-2:] == ["shape_network"] * 2  # after the measuring
    cluster.calls.clear()
    assert (await FAULT.probe(site)).outcome == "took_effect"
    assert {call[:2] for call in cluster.named("measure_path")} == both_ways


async def test_the_measured_rate_decides() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 5.0, 5.0, "Mbit/s")
    await cluster.undo("run.i1.w2")
    fast = await FAULT.probe(site)
    assert (fast.outcome, fast.measured) == ("no_effect", OPEN_MBIT)  # one of two is still fast
    assert fast.detail in ("the fastest path is w2 → head", "the fastest path is head → w2")


async def test_a_limit_in_one_direction_is_no_effect() -> None:
    class OneWay(FakeCluster):
        async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
            path = await super().measure_path(source, destination, transfer_kib=transfer_kib)
            return path.model_copy(update={"rate_mbit": OPEN_MBIT}) if source == "head" else path

    cluster = OneWay()
    site = await injected(FAULT, site_of(cluster, "w1"))
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.detail, seen.measured) == ("no_effect", "the fastest path is head → w1", OPEN_MBIT)


@pytest.mark.parametrize(("open_mbit", "outcome"), [(7.4, "no_effect"), (7.6, "took_effect")])
async def test_a_path_that_was_no_faster_proves_nothing(open_mbit: float, outcome: str) -> None:
    cluster = FakeCluster()
    cluster.open_mbit = open_mbit
    site = await injected(FAULT, site_of(cluster, "w1"))
    seen = await FAULT.probe(site)
    assert seen.outcome == outcome
    if outcome == "no_effect":
        assert (seen.detail, seen.measured) == ("w1 → head was not clearly faster before", 7.4)
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


async def test_a_path_that_carried_nothing_before_proves_nothing() -> None:
    cluster = FakeCluster()
    await cluster.shape_network("w1", NetworkShape(cut=True, peers=("head",)), effect_id="run.i2.w1", lease_s=9.0)
    site = await injected(FAULT, site_of(cluster, "w1"))
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.measured) == ("no_effect", 0.0)


async def test_what_cannot_be_measured_is_unknown() -> None:
    assert (await FAULT.probe(await injected(FAULT, site_of(FakeCluster(workers=0), "head")))).outcome == "unknown"
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    await cluster.shape_network("w1", NetworkShape(cut=True, peers=("head",)), effect_id="run.i2.w1", lease_s=9.0)
    cut = await FAULT.probe(site)
    assert (cut.outcome, cut.detail) == ("unknown", "0 of 2 paths could be measured")
    cluster.members["w1"] = node_named("w1", state="stopping")
    assert (await FAULT.probe(site)).outcome == "unknown"


async def test_paths_that_went_with_their_nodes_are_left_out_and_counted() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    cluster.members["w2"] = node_named("w2", state="stopping")
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.measured) == ("took_effect", 5.0)
    assert seen.detail.endswith("; 2 of 4 paths went with their nodes")
    await cluster.undo("run.i1.w1")
    assert (await FAULT.probe(site)).outcome == "no_effect"
    del cluster.members["w1"], cluster.members["w2"]
    none = await FAULT.probe(site)
    assert (none.outcome, none.detail) == ("unknown", "the nodes of all 4 paths are gone")


async def test_a_path_that_was_slow_before_tells_nothing_of_the_others_once_its_node_is_gone() -> None:
    cluster = FakeCluster()
    await cluster.shape_network("w2", NetworkShape(rate_mbit=5.0), effect_id="run.i2.w2", lease_s=9.0)
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    assert (await FAULT.probe(site)).outcome == "no_effect"
    del cluster.members["w2"]
    assert (await FAULT.probe(site)).outcome == "took_effect"


@pytest.mark.parametrize("refused", [True, False])
async def test_a_node_that_vanishes_while_it_is_measured_makes_nothing_unknown(refused: bool) -> None:
    class Crumbling(FakeCluster):
        async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
            if {"w2", "w3"} & {source, destination}:
                self.members.pop("w2", None)
            if refused and "w2" in (source, destination):
                raise InjectionError("node 'w2' does not run")
            return await super().measure_path(source, destination, transfer_kib=transfer_kib)

    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    crumbling = Crumbling()
    crumbling.members, crumbling.effects = cluster.members, cluster.effects
    seen = await FAULT.probe(replace(site, cluster=crumbling))
    assert (seen.outcome, seen.measured) == ("took_effect", 5.0)
    assert seen.detail.endswith("; 2 of 4 paths went with their nodes")


async def test_a_measurement_that_is_refused_though_the_nodes_live_is_an_error() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    cluster.failing["measure_path"] = InjectionError("no sockets left")
    with pytest.raises(InjectionError, match="no sockets left"):
        await FAULT.probe(site)


async def test_the_head_is_measured_against_a_worker_not_against_itself() -> None:
    site = await injected(FAULT, site_of(FakeCluster(workers=2), "head"))
    assert set(site.before) == {("head", "w1"), ("w1", "head")}
    assert (await FAULT.probe(site)).outcome == "took_effect"


async def test_a_transfer_lasts_long_enough_to_tell_but_not_longer() -> None:
    for rate_mbit, kib in ((0.1, 69), (5.0, 314), (10_000.0, 2048)):
        cluster = FakeCluster()
        await ThrottleNetwork(rate_mbit=rate_mbit).measure_before(site_of(cluster, "w1"))
        assert {call[2] for call in cluster.named("measure_path")} == {str(kib)}


async def test_healing_is_proven_by_speed() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await FAULT.heal(site)
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.measured) == ("no_effect", OPEN_MBIT)


class Forgetful(FakeCluster):
    """A cluster that says no effect is in force, whatever it does."""

    async def active_effects(self) -> tuple[str, ...]:
        """None."""
        return ()


async def test_a_path_that_stays_slow_is_no_healing() -> None:
    site = await injected(FAULT, site_of(Forgetful(), "w1"))
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.detail, seen.measured) == ("took_effect", "w1 → head is still slow", 5.0)


@pytest.mark.parametrize(
    ("before_mbit", "now_mbit", "outcome"),
    [
        (900.0, 9.9, "took_effect"),  # not well above the 5 asked for
        (900.0, 10.1, "no_effect"),  # whatever else slows it, the limit does not
        (8.0, 6.4, "took_effect"),  # not half-way back
        (8.0, 6.6, "no_effect"),
        (7.0, 5.0, "no_effect"),  # was never clearly faster: speed tells nothing
    ],
)
async def test_healed_is_well_above_the_limit_by_what_it_was_before(
    before_mbit: float, now_mbit: float, outcome: str
) -> None:
    cluster = Forgetful()
    cluster.open_mbit = before_mbit
    site = await injected(FAULT, site_of(cluster, "w1"))
    await FAULT.heal(site)
    cluster.open_mbit = now_mbit
    assert (await FAULT.probe_healed(site)).outcome == outcome


async def test_a_path_that_carries_nothing_any_more_is_no_healing() -> None:
    cluster = Forgetful()
    site = await injected(FAULT, site_of(cluster, "w1"))
    await FAULT.heal(site)
    cluster.effects["stuck"] = ("w1", False, NetworkShape(cut=True, peers=("head",)), None)
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.measured) == ("took_effect", 0.0)


async def test_a_limit_that_another_injection_keeps_is_not_held_against_this_one() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    await cluster.shape_network("w1", NetworkShape(rate_mbit=1.0), effect_id="run.i2.w1", lease_s=9.0)
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


async def test_victims_that_are_gone_are_healed() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    del cluster.members["w1"]
    await FAULT.heal(site)
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.measured) == ("no_effect", None)
