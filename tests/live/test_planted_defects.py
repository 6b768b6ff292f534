"""Planted defects must be found, by the check that is about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chaos.clusters.cloud_cluster import CloudCluster
from chaos.clusters.local import LocalCluster
from chaos.events import StacksDumped, WorkloadFinished
from chaos.results import Results
from chaos.spec import Catalogue, RunSpec
from tests.live.conftest import Together
from tests.live.lab import Lab
from tests.live.rulers import INFERENCE, PAIR, ruler
from tests.planted_clusters import LeakyComposeCluster, LeakyLocalCluster, PlantedComposeCluster, remove_images

# It wins over the arguments of `ray start`: nodes start without the GPU that the autoscaler counts on.
WITHOUT_GPU = "ray_environment: {RAY_OVERRIDE_RESOURCES: '{\"GPU\": 0}'}"
DEADLINE_S = 120.0
# Time enough on a slow machine to start nodes and to reach the row at which the planted workload hangs.
STUCK_DEADLINE_S = 45.0
# And to start nodes.
USELESS_DEADLINE_S = 30.0
LEAKY: dict[str, type[CloudCluster]] = {"local": LeakyLocalCluster, "compose": LeakyComposeCluster}

BOTH = pytest.mark.parametrize("kind", ["local", pytest.param("compose", marks=pytest.mark.compose)])
ONLY_LOCAL = pytest.mark.parametrize("kind", ["local"])
KINDS: dict[str, type[CloudCluster]] = {"local": LocalCluster, "compose": PlantedComposeCluster}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lab(lab: Lab, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """Warm clusters whose nodes find the planted workloads, in place of the session's."""
    await lab.close()
    lab = Lab(tmp_path_factory.mktemp("planted"), catalogue, name="planted", kinds=KINDS)
    yield lab
    await lab.close()
    if "compose" in lab.started:
        await asyncio.to_thread(remove_images)


def failed(results: Results) -> set[str]:
    return {verdict.name for verdict in results.verdicts if verdict.verdict == "fail"}


def verdict_of(results: Results, name: str) -> str:
    return next(verdict.summary for verdict in results.verdicts if verdict.name == name)


def spec_of(
    lab: Lab, kind: str, *, workload: str = "batch_inference", cluster: str = "", deadline_s: float = DEADLINE_S
) -> RunSpec:
    """A run without a defect, but for what is given; `cluster` is more of that section."""
    job = INFERENCE.replace("batch_inference", workload)
    return lab.spec(f"cluster: {{{PAIR}{cluster}}}\nworkload: {job}\ndeadline_s: {deadline_s}\n", kind)


async def run_planted(lab: Lab, kind: str, workload: str, *, deadline_s: float = DEADLINE_S) -> Results:
    """A planted workload, judged against the baseline of the honest one."""
    planted = spec_of(lab, kind, workload=workload, deadline_s=deadline_s)
    return await lab.run(planted, baseline_of=ruler(lab, kind, INFERENCE))


@BOTH
@pytest.mark.parametrize(
    ("workload", "word"), [("planted_drops_row", "missing"), ("planted_duplicates_row", "duplicated")]
)
async def test_a_row_that_is_lost_or_doubled_is_found(
    lab: Lab, together: Together, kind: str, workload: str, word: str
) -> None:
    async def planted(kind: str) -> Results:
        return await run_planted(lab, kind, workload)

    results = await together(kind, planted)
    assert failed(results) == {"rows_exactly_once"}, results.report
    assert word in verdict_of(results, "rows_exactly_once"), results.report


@ONLY_LOCAL
async def test_a_row_with_the_wrong_content_is_found(lab: Lab, kind: str) -> None:
    results = await run_planted(lab, kind, "planted_wrong_row")
    assert failed(results) == {"rows_exactly_once"}, results.report
    assert "wrong" in verdict_of(results, "rows_exactly_once"), results.report


@ONLY_LOCAL
async def test_a_workload_that_raises_fails_with_its_error(lab: Lab, kind: str) -> None:
    results = await run_planted(lab, kind, "planted_raises")
    assert "job_completes" in failed(results), results.report
    assert "planted" in verdict_of(results, "job_completes"), results.report


@BOTH
async def test_a_configuration_that_cannot_converge_is_found(lab: Lab, kind: str) -> None:
    # One after the other: such a cluster starts and ends nodes without a pause, and two of them leave no time for it.
    spec = spec_of(lab, kind, cluster=f", {WITHOUT_GPU}", deadline_s=USELESS_DEADLINE_S)
    results = await lab.run(spec, baseline_of=ruler(lab, kind, INFERENCE))
    assert {"job_completes", "scale_up_converges"} <= failed(results), results.report
    told = "has {CPU: 2, GPU: 0}, its type gpu promises {CPU: 2, GPU: 1}"
    assert told in verdict_of(results, "scale_up_converges"), results.report
    assert results.diagnosis[0].startswith("likely: too few or misconfigured resources: "), results.report
    assert told in results.diagnosis[0], results.report


@BOTH
async def test_a_cloud_that_leaks_nodes_is_found(lab: Lab, together: Together, kind: str) -> None:
    async def leaky(kind: str) -> Results:
        spec = spec_of(lab, kind)
        cluster = LEAKY[kind](f"leaky-{kind}", spec.cluster)
        async with lab.starting:
            await cluster.start()
        try:
            return await lab.run(spec, on=cluster)
        finally:
            await cluster.stop()

    results = await together(kind, leaky)
    assert {"no_leaked_nodes", "scale_down_converges"} <= failed(results), results.report


@BOTH
async def test_a_workload_that_hangs_ends_at_its_deadline_with_stack_dumps(
    lab: Lab, together: Together, kind: str
) -> None:
    async def hanging(kind: str) -> Results:
        return await run_planted(lab, kind, "planted_hangs", deadline_s=STUCK_DEADLINE_S)

    results = await together(kind, hanging)
    assert "job_completes" in failed(results), results.report
    finished = results.history.last(WorkloadFinished)
    assert finished is not None
    assert finished[1].outcome == "hung"
    dumped = results.history.last(StacksDumped)
    assert dumped is not None
    run = lab.directory_of(results)
    assert dumped[1].processes >= 1
    dumps = "".join(path.read_text() for path in (run.path / dumped[1].path).iterdir())
    assert "planted_workloads" in dumps, "the hanging frame is not in the dumps"
