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
    "stop_node": {},
    "preempt_node": {},
    "restart_node": {},
    "kill_raylet": {},
    "restart_raylet": {},
    "kill_dashboard_agent": {},
    "kill_worker_process": {},
    "pause_process": {"role": "raylet"},
    "kill_autoscaler": {},
    "pause_autoscaler": {},
    "kill_gcs": {},
    "pause_gcs": {},
    "kill_driver": {},
    "delay_launch": {"delay_s": 3.0},
    "fail_launch": {},
    "limit_capacity": {"at_most": 1},
    "partial_launch": {},
    "lose_launch_reply": {},
    "duplicate_launch": {},
    "zombie_launch": {},
    "slow_join": {"delay_s": 3.0},
    "fail_terminate": {},
    "delay_terminate": {"delay_s": 3.0},
    "vanish_node": {},
    "omit_from_listing": {},
    "stale_listing": {},
    "cloud_outage": {},
    "conflict_patch": {},
    "kill_operator": {},
    "throttle_network": {"rate_mbit": 5.0},
    "partition_network": {},
    "gpu_out_of_memory": {},
    "gpu_ecc_error": {},
    "gpu_lost": {},
    "gpu_hang": {},
    "gpu_slow": {"factor": 3.0},
    "restart_head": {},
    "fail_rpcs": {"request_failure_percent": 10},
    "delay_rpcs": {"max_delay_ms": 5},
    "change_limits": {"max_workers": 3},
    "change_node_types": {"new_type": "cpu", "resources": {"CPU": 2.0}},
    "change_idle_timeout": {"idle_timeout_s": 2.0},
    "throttle_cpu": {"cores": 0.5},
    "press_memory": {"mb": 100},
    "exhaust_file_descriptors": {},
    "fill_object_store": {},
    "fill_disk": {},
    "skew_clock": {"offset_s": 30.0},
    "throttle_disk": {"mb_per_s": 5.0},
    "delay_network": {"delay_ms": 40.0},
    "lose_packets": {"percent": 10.0},
    "duplicate_packets": {"percent": 10.0},
    "corrupt_packets": {"percent": 10.0},
    "reorder_packets": {"percent": 10.0},
    "flap_network": {"down_s": 0.5, "up_s": 0.5},
    "reset_connections": {},
    "lag_views": {},
    "omit_from_views": {},
    "refuse_drains": {},
}
each_fault = pytest.mark.parametrize("fault", [faults.ALL[name].model_validate(own) for name, own in MADE.items()])


def victims_of(fault: Fault, *nodes: str) -> tuple[str, ...]:
    """Whom the nemesis would name: the nodes where the fault acts on nodes, else the one thing it acts on."""
    return {"nodes": nodes, "launches": (), "cloud": (), "cluster": ()}.get(fault.acts_on, (fault.acts_on,))


def test_every_fault_is_here() -> None:
    assert set(MADE) == set(faults.ALL)


def test_names_and_fields_are_sound() -> None:
    for name, fault in faults.ALL.items():
        assert fault.name == name
        assert fault.__module__.startswith("faults.")
        assert fault.summary
        assert fault.__doc__
        assert not fault.model_fields.keys() & (Frame.model_fields.keys() | {"fault"})
        assert set(fault.needs) <= set(CAPABILITIES)
        assert (UndoesEffects in fault.needs) == fault.lasts


@each_fault
async def test_what_is_injected_is_undone_twice_over_and_also_when_the_victims_are_gone(fault: Fault) -> None:
    cluster = FakeCluster()
    victims = victims_of(fault, "w1", "w2")
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
    site = await injected(fault, site_of(cluster, *victims_of(fault, "w1")))
    assert (await fault.probe(site)).outcome != "took_effect"


@each_fault
async def test_a_cluster_that_refuses_is_an_error_not_a_shrug(fault: Fault) -> None:
    cluster = FakeCluster()
    refusing = [name for need in fault.needs for name in vars(need) if not name.startswith("_")]
    cluster.failing = {method: ClusterError("refused") for method in refusing}
    with pytest.raises(ClusterError, match="refused"):
        await injected(fault, site_of(cluster, *victims_of(fault, "w1")))


@each_fault
def test_a_cluster_without_the_capability_is_named(fault: Fault) -> None:
    class Bare:
        pass

    assert fault.missing_capabilities(FakeCluster) == ()
    assert fault.missing_capabilities(Bare) == tuple(need.__name__ for need in fault.needs)
