"""`kill_worker_process`: the right process, seen gone by its start and not by its number alone."""

from __future__ import annotations

import pytest

from chaos.cluster import NodeProcess
from chaos.errors import NothingToHit
from faults.kill_worker_process import KillWorkerProcess
from tests.doubles import FakeCluster, injected, site_of


@pytest.mark.parametrize(
    ("own", "title"),
    [
        ({}, "ray::IDLE"),
        ({"state": "idle"}, "ray::IDLE"),
        ({"state": "busy"}, "ray::predict_rows"),
        ({"runs": "predict_rows"}, "ray::predict_rows"),
        ({"runs": "Predictor"}, "ray::Predictor.predict"),
        ({"runs": "Predictor.predict", "state": "busy"}, "ray::Predictor.predict"),
    ],
)
async def test_it_chooses_by_what_runs_and_by_state(own: dict[str, object], title: str) -> None:
    cluster, fault = FakeCluster(), KillWorkerProcess.model_validate(own)
    site = await injected(fault, site_of(cluster, "w1"))
    assert [key[2] for key in site.before] == [title]
    assert title not in [process.title for process in cluster.on_nodes["w1"]]
    seen = await fault.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 1.0, 1.0, "processes")
    assert seen.detail == f"{title}: gone; 6 other processes on the node"


async def test_as_many_as_asked_for_on_each_victim() -> None:
    cluster, fault = FakeCluster(), KillWorkerProcess(count=2)
    site = await injected(fault, site_of(cluster, "w1", "w2"))
    assert cluster.named("kill_processes") == [("w1", "1004", "1005"), ("w2", "2004", "2005")]
    assert (await fault.probe(site)).measured == 4.0


@pytest.mark.parametrize("own", [{"runs": "Nobody"}, {"runs": "IDLE"}, {"runs": "predict_rows", "state": "idle"}])
async def test_with_no_such_process_the_injection_fails(own: dict[str, object]) -> None:
    cluster = FakeCluster()
    with pytest.raises(NothingToHit, match="no such process on w1"):
        await injected(KillWorkerProcess.model_validate(own), site_of(cluster, "w1"))


async def test_a_victim_without_one_is_passed_over_while_another_has_one() -> None:
    cluster, fault = FakeCluster(), KillWorkerProcess()
    cluster.on_nodes["w1"] = []
    site = await injected(fault, site_of(cluster, "w1", "w2"))
    assert (await fault.probe(site)).outcome == "took_effect"


async def test_a_process_that_is_still_there_is_no_effect_yet() -> None:
    cluster, fault = FakeCluster(), KillWorkerProcess()
    cluster.harmless = True
    seen = await fault.probe(await injected(fault, site_of(cluster, "w1")))
    assert (seen.outcome, seen.detail) == ("unknown", "1 of 1 processes are still there")


async def test_another_process_with_the_same_number_is_another() -> None:
    cluster, fault = FakeCluster(), KillWorkerProcess()
    site = await injected(fault, site_of(cluster, "w1"))
    cluster.on_nodes["w1"].append(NodeProcess(pid=1004, started_ticks=999, role="worker", title="ray::IDLE"))
    assert (await fault.probe(site)).outcome == "took_effect"


async def test_processes_that_went_with_their_node_are_no_hit() -> None:
    cluster, fault = FakeCluster(), KillWorkerProcess()
    cluster.harmless = True
    site = await injected(fault, site_of(cluster, "w1", "w2"))
    del cluster.members["w1"]
    assert (await fault.probe(site)).detail == "1 of 1 processes are still there"
    del cluster.members["w2"]
    seen = await fault.probe(site)
    assert (seen.outcome, seen.detail) == ("unknown", "their nodes have ended with them")
