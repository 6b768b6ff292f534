"""Planted defects must be found, by the check that is about them."""

from __future__ import annotations

import pytest

from chaos.events import StacksDumped, WorkloadFinished
from chaos.results import Results
from tests.live.lab import Lab
from tests.planted_clouds import PlantedLocalCluster

CLUSTER = "cluster: {max_workers: 2, node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2}}}\n"
SIZE = "rows: 320, max_actors: 2, device_ms_per_batch: 300"


def failed(results: Results) -> set[str]:
    return {verdict.name for verdict in results.verdicts if verdict.verdict == "fail"}


def verdict_of(results: Results, name: str) -> str:
    return next(verdict.summary for verdict in results.verdicts if verdict.name == name)


async def run_planted(lab: Lab, workload: str, *, rest: str = "") -> Results:
    """A planted workload, judged against the baseline of the honest one."""
    honest = lab.spec(f"{CLUSTER}workload: {{name: batch_inference, {SIZE}}}\n{rest}", "local")
    planted = lab.spec(f"{CLUSTER}workload: {{name: {workload}, {SIZE}}}\n{rest}", "local")
    return await lab.run(planted, baseline_of=honest)


@pytest.mark.parametrize(
    ("workload", "word"),
    [("planted_drops_row", "missing"), ("planted_duplicates_row", "duplicated"), ("planted_wrong_row", "wrong")],
)
async def test_a_row_that_is_not_right_is_found(lab: Lab, workload: str, word: str) -> None:
    results = await run_planted(lab, workload)
    assert failed(results) == {"rows_exactly_once"}, results.report
    assert word in verdict_of(results, "rows_exactly_once"), results.report


async def test_a_workload_that_hangs_ends_at_its_deadline_with_stack_dumps(lab: Lab) -> None:
    results = await run_planted(lab, "planted_hangs", rest="deadline_s: 30\n")
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


async def test_a_workload_that_raises_fails_with_its_error(lab: Lab) -> None:
    results = await run_planted(lab, "planted_raises")
    assert "job_completes" in failed(results), results.report
    assert "planted" in verdict_of(results, "job_completes"), results.report


@pytest.mark.parametrize(
    ("defect", "checks"),
    [("leaky", {"no_leaked_nodes", "scale_down_converges"}), ("skimpy", {"job_completes", "stayed_live"})],
)
async def test_a_cloud_that_lies_is_found(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, defect: str, checks: set[str]
) -> None:
    monkeypatch.setenv("RAYCHAOS_PLANTED", defect)
    spec = lab.spec(f"{CLUSTER}workload: {{name: batch_inference, {SIZE}}}\ndeadline_s: 45\n", "local")
    cluster = PlantedLocalCluster(f"planted-{defect}", spec.cluster)
    await cluster.start()
    try:
        results = await lab.run(spec, on=cluster)
    finally:
        await cluster.stop()
    assert checks <= failed(results), results.report
