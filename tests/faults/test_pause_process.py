"""`pause_process`, and its two of the head: proven by what the kernel schedules of one role."""

from __future__ import annotations

import pytest

from chaos.cluster import NodeProcess
from chaos.cluster_spec import ClusterSpec
from chaos.harm import Role
from faults.pause_autoscaler import PauseAutoscaler
from faults.pause_gcs import PauseGcs
from faults.pause_process import PauseProcess, StopsProcesses
from tests.doubles import FakeCluster, injected, site_of


@pytest.mark.parametrize(
    ("fault", "victim", "role"),
    [
        (PauseProcess(role="worker"), "w1", "worker"),
        (PauseProcess(role="driver"), "head", "driver"),
        (PauseAutoscaler(), "head", "monitor"),
        (PauseGcs(), "head", "gcs_server"),
    ],
)
async def test_processes_of_the_role_stop_and_go_on(fault: StopsProcesses, victim: str, role: Role) -> None:
    cluster = FakeCluster()
    site = site_of(cluster, victim)
    site = await injected(fault, site)
    assert cluster.named("stop_processes") == [(victim, role, f"run.i1.{victim}", "20")]
    count = 3 if role == "worker" else 1
    seen = await fault.probe(site)
    assert (seen.outcome, seen.measured) == ("took_effect", count)
    assert seen.detail == f"{count} of {count} processes of role {role} are stopped"
    assert (await fault.probe_healed(site)).outcome == "took_effect"
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"


DRIVER_APART = ClusterSpec.model_validate(
    {"driver_on": "own", "node_types": {"own": {"resources": {"CPU": 1}, "min_workers": 1, "max_workers": 1}}}
)
TWIN = ClusterSpec.model_validate({"kind": "sim"})


@pytest.mark.parametrize(
    ("role", "cluster", "selected", "refusal"),
    [
        ("monitor", ClusterSpec(), "random", "only the head has a process of role monitor; give target: head"),
        ("gcs_server", DRIVER_APART, "w1", "only the head has a process of role gcs_server; give target: head"),
        ("driver", ClusterSpec(), "w1", "only the head has a process of role driver; give target: head"),
        ("driver", DRIVER_APART, "head", "the driver runs on 'own', not on the head"),
        ("driver", DRIVER_APART, "w1", ""),
        ("driver", ClusterSpec(), "head", ""),
        ("raylet", ClusterSpec(), "head", ""),
        ("worker", ClusterSpec(), "random", ""),
        ("raylet", TWIN, "random", "the twin cannot stop a raylet alone, only: gcs_server, monitor"),
        ("monitor", TWIN, "head", ""),
    ],
)
def test_a_role_is_looked_for_where_it_can_be(role: Role, cluster: ClusterSpec, selected: str, refusal: str) -> None:
    assert PauseProcess(role=role).impossible(cluster, selected) == refusal


async def test_a_role_that_nobody_has_shows_no_effect() -> None:
    cluster, fault = FakeCluster(), PauseProcess(role="monitor")
    site = site_of(cluster, "w1")
    site = await injected(fault, site)
    seen = await fault.probe(site)
    assert (seen.outcome, seen.detail) == ("no_effect", "no process of role monitor runs there")


async def test_what_another_injection_still_holds_is_not_held_against_this_one() -> None:
    cluster, fault = FakeCluster(), PauseProcess(role="raylet")
    site = site_of(cluster, "w1")
    site = await injected(fault, site)
    await cluster.stop_processes("w1", "raylet", effect_id="run.i2.w1", lease_s=9.0)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"
    assert list(cluster.effects) == ["run.i2.w1"]


async def test_every_victim_must_have_stopped() -> None:
    cluster, fault = FakeCluster(), PauseProcess(role="worker")
    site = await injected(fault, site_of(cluster, "w1", "w2"))
    del cluster.stopped["run.i1.w2"]
    seen = await fault.probe(site)
    assert (seen.outcome, seen.detail) == ("unknown", "3 of 6 processes of role worker are stopped")


async def test_processes_that_ended_or_started_since_do_not_count() -> None:
    cluster, fault = FakeCluster(), PauseProcess(role="raylet")
    site = await injected(fault, site_of(cluster, "w1", "w2"))
    cluster.on_nodes["w1"] = [NodeProcess(pid=1001, started_ticks=99, role="raylet", title="another")]
    seen = await fault.probe(site)
    assert (seen.outcome, seen.measured) == ("took_effect", 1.0)
    cluster.on_nodes["w2"] = []
    assert (await fault.probe(site)).outcome == "unknown"
