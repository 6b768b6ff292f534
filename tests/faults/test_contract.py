"""What every fault of the catalogue keeps, on a cluster that is one in name only."""

from __future__ import annotations

import pytest

import faults
from chaos.cluster import UndoesEffects
from chaos.errors import ClusterError
from chaos.fault import Fault
from chaos.schedule import Frame
from tests.doubles import CAPABILITIES, FakeCluster, injected, site_of

MADE: dict[str, dict[str, object]] = {
    "kill_node": {},
    "pause_node": {},
    "delay_launch": {"delay_s": 3.0},
    "fail_launch": {},
    "throttle_network": {"rate_mbit": 5.0},
    "partition_network": {},
    "delay_network": {"delay_ms": 40.0},
    "lose_packets": {"percent": 10.0},
    "duplicate_packets": {"percent": 10.0},
    "corrupt_packets": {"percent": 10.0},
    "reorder_packets": {"percent": 10.0},
    "flap_network": {"down_s": 0.5, "up_s": 0.5},
    "reset_connections": {},
}
each_fault = pytest.mark.parametrize("fault", [faults.ALL[name].model_validate(own) for name, own in MADE.items()])


def test_every_fault_is_here() -> None:
    assert set(MADE) == set(faults.ALL)


def test_names_and_fields_are_sound() -> None:
    for name, fault in faults.ALL.items():
        assert fault.name == name == fault.__module__.rpartition(".")[2]
        assert fault.summary
        assert fault.__doc__
        assert not fault.model_fields.keys() & (Frame.model_fields.keys() | {"fault"})
        assert set(fault.needs) <= set(CAPABILITIES)
        assert (UndoesEffects in fault.needs) == fault.lasts


@each_fault
async def test_what_is_injected_is_undone_twice_over_and_also_when_the_victims_are_gone(fault: Fault) -> None:
    cluster = FakeCluster()
    victims = ("w1", "w2") if fault.acts_on == "nodes" else ()
    site = site_of(cluster, *victims)
    await fault.heal(site)  # nothing to undo yet
    site = await injected(fault, site)
    assert set(cluster.effects) == (set(site.effect_ids) if fault.lasts else set())
    for victim in victims:
        cluster.members.pop(victim, None)
    await fault.heal(site)
    await fault.heal(site)
    assert not cluster.effects
    assert (await fault.probe_healed(site)).outcome == "no_effect"


@each_fault
async def test_a_cluster_that_does_nothing_is_never_proof(fault: Fault) -> None:
    cluster = FakeCluster()
    cluster.harmless = True
    site = await injected(fault, site_of(cluster, *(("w1",) if fault.acts_on == "nodes" else ())))
    assert (await fault.probe(site)).outcome != "took_effect"


@each_fault
async def test_a_cluster_that_refuses_is_an_error_not_a_shrug(fault: Fault) -> None:
    cluster = FakeCluster()
    refusing = ("kill_node", "pause_node", "fault_launches", "shape_network")
    cluster.failing = {method: ClusterError("refused") for method in refusing}
    with pytest.raises(ClusterError, match="refused"):
        await fault.inject(site_of(cluster, *(("w1",) if fault.acts_on == "nodes" else ())))


@each_fault
def test_a_cluster_without_the_capability_is_named(fault: Fault) -> None:
    class Bare:
        pass

    assert fault.missing_capabilities(FakeCluster) == ()
    assert fault.missing_capabilities(Bare) == tuple(need.__name__ for need in fault.needs)
