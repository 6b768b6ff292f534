"""Limits on a run, and runs that nothing is expected to survive, on real clusters."""

from __future__ import annotations

import pytest

from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from chaos.events import FaultInjected, FaultProbed, FaultSkipped
from chaos.results import Results
from tests.live.lab import Lab
from tests.live.rulers import INFERENCE, PAIR, ruler

SPEC = f"cluster: {{{PAIR}}}\nworkload: {INFERENCE}\ndeadline_s: 120\n"
KILL_HEAD = "schedule: [{fault: kill_node, target: head, on: {progress_percent: 40}}]\n"
TWO_KILLS = """
blast_radius: {max_nodes_down: 1}
schedule:
  - {fault: kill_node, target: oldest, on: {progress_percent: 20}}
  - {fault: kill_node, target: newest, on: {event: fault.injected}, after_s: 0.5, may_miss: true}
"""


def verdict_of(results: Results, name: str) -> tuple[str, str]:
    return next((verdict.verdict, verdict.summary) for verdict in results.verdicts if verdict.name == name)


def not_passed(results: Results) -> set[str]:
    """What did not pass, but for what the machine's other work decides."""
    return {verdict.name for verdict in results.verdicts if verdict.verdict != "pass"} - {"host_not_starved"}


@pytest.mark.parametrize("kind", ["local", pytest.param("compose", marks=pytest.mark.compose)])
async def test_a_job_whose_head_is_killed_fails_as_expected(lab: Lab, kind: str) -> None:
    spec = lab.spec(SPEC + KILL_HEAD, kind)
    cluster: CloudCluster = CLUSTERS[kind](f"headless-{kind}", spec.cluster)
    await cluster.start()
    try:
        results = await lab.run(spec, on=cluster, baseline_of=ruler(lab, kind, INFERENCE))
    finally:
        await cluster.stop()
    assert not not_passed(results), results.report
    judgement, told = verdict_of(results, "job_completes")
    assert (judgement, told.partition(", within")[0]) == ("pass", "the job failed, as expected of i1 (kill_node)"), (
        results.report
    )
    assert [event.outcome for _, event in results.history.of(FaultProbed)] == ["took_effect"], results.report


async def test_a_second_kill_is_refused_until_the_first_worker_is_replaced(lab: Lab) -> None:
    results = await lab.run(lab.spec(SPEC + TWO_KILLS, "local"), baseline_of=ruler(lab, "local", INFERENCE))
    assert [event.injection for _, event in results.history.of(FaultInjected)] == ["i1"], results.report
    ((_, skipped),) = results.history.of(FaultSkipped)
    assert (skipped.injection, skipped.reason) == ("i2", "refused")
    assert skipped.detail.startswith("blast_radius.max_nodes_down is 1: 1 worker asked for, 1 already down (")
    assert not not_passed(results), results.report
