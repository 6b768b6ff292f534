"""A run is made on a clean cluster only, says what it expects, and stops where it is told to abort."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from chaos import run as run_module
from chaos.errors import ClusterError, ExceptionGroup
from chaos.events import (
    CleanlinessChecked,
    ClusterSampled,
    FingerprintTaken,
    HostSampled,
    NodeTerminated,
    RunAborted,
    RunOpened,
    RunSealed,
    SurvivalExpected,
    WorkloadFinished,
    WorkloadStarted,
)
from chaos.harm import LaunchFault
from chaos.history import History, Recorder
from chaos.probe_command import ask
from chaos.results import judge
from chaos.run import Run
from chaos.spec import Catalogue, parse
from chaos.store import create
from chaos.workload import EVENT_PREFIX
from tests.doubles import FakeCluster, FakeProcess


class Haunted(FakeCluster):
    """A cluster on which an effect of an earlier run is in force; with `fades_s` it ends by itself."""

    def __init__(self, *, fades_s: float | None) -> None:
        super().__init__()
        self.effects["old.i1"] = ("", False, None, LaunchFault(delay_s=1.0))
        self.fades_s = fades_s

    async def leftovers(self) -> tuple[str, ...]:
        """The effects in force."""
        if self.fades_s is not None:
            await asyncio.sleep(self.fades_s)
            self.effects.clear()
        return await super().leftovers()


async def attempted(cluster: FakeCluster, store: Path, catalogue: Catalogue, error: str) -> History:
    """The history of a run that ends with an error."""
    spec = parse("workload: task_bursts\n", catalogue)
    directory = create(store, spec)
    with pytest.raises(ClusterError, match=error):
        await Run(spec, cluster, directory, versions={}, ask=ask).execute()
    return History.load(directory.history)


async def test_a_cluster_with_harm_in_force_is_refused_and_the_history_says_why(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "CLEAN_LIMIT_S", 0.3)
    told = r"cluster 'fake' is not clean: old\.i1; `raychaos heal` undoes .*`raychaos down fake` ends the cluster"
    history = await attempted(Haunted(fades_s=None), tmp_path, catalogue, told)
    assert [event.seen for _, event in history.of(FingerprintTaken)] == [("old.i1",)]
    assert not history.of(WorkloadStarted)
    sealed = history.last(RunSealed)
    assert sealed is not None
    assert sealed[1].reason == "error"
    assert "not clean" in sealed[1].message
    # The harm is undone on the way out, as at the end of every run.
    assert [event.leftovers for _, event in history.of(CleanlinessChecked)] == [()]


async def test_what_is_just_ending_is_waited_for(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "SETTLE_LIMIT_S", 0.1)  # nobody samples this cluster
    history = await attempted(Haunted(fades_s=0.01), tmp_path, catalogue, "did not come to rest")
    assert [event.seen for _, event in history.of(FingerprintTaken)] == [()]


class Watched(FakeCluster):
    """A cluster at rest, on a machine whose memory runs low once a node is paused."""

    async def begin_run(self, recorder: Recorder) -> None:
        """Samples from now on."""
        self.sampling = asyncio.create_task(self._sample(recorder))

    async def end_run(self) -> None:
        """Sampled no more."""
        await super().end_run()
        self.sampling.cancel()

    async def _sample(self, recorder: Recorder) -> None:
        while True:
            free_mb = 90.0 if self.effects else 900.0
            recorder.append(HostSampled(cpu_busy=0.1, memory_free_mb=free_mb, disk_free_mb=9000.0))
            recorder.append(ClusterSampled(reachable=True, cloud={"head": "running"}))
            await asyncio.sleep(0.02)


PAUSED = "schedule: [{fault: pause_node, target: w1, on: {event: workload.started}, duration_s: 60}]\n"


def started() -> str:
    return EVENT_PREFIX + json.dumps(
        {"kind": "workload.started", "workload": "toy", "rows_total": 9, "monotonic_s": time.monotonic()}
    )


async def executed(cluster: Watched, text: str, store: Path, catalogue: Catalogue) -> History:
    """The history of a run of this specification whose driver has started."""
    cluster.processes = [FakeProcess([started()], hangs=True)]
    cluster.data = store
    spec = parse(text, catalogue)
    directory = create(store, spec)
    await asyncio.wait_for(Run(spec, cluster, directory, versions={}, ask=ask).execute(), 30.0)
    return History.load(directory.history)


async def test_low_memory_stops_the_run_heals_everything_and_is_inconclusive(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    cluster = Watched()
    history = await executed(cluster, f"abort: {{memory_free_mb: 500}}\n{PAUSED}", tmp_path, catalogue)
    assert [event for _, event in history.of(RunAborted)] == [
        RunAborted(condition="memory_free_mb", measured=90, limit=500, unit="MiB")
    ]
    sealed = history.last(RunSealed)
    assert sealed is not None
    assert (sealed[1].reason, sealed[1].message) == ("aborted", "memory_free_mb: 90 MiB, limit 500")
    assert cluster.named("undo") == [(f"{_run_id(history)}.i1.w1",)]
    assert [event.outcome for _, event in history.of(WorkloadFinished)] == ["interrupted"]
    results = judge(history)
    assert results.judgement == "inconclusive"
    assert {verdict.verdict for verdict in results.verdicts} == {"inconclusive", "pass"}
    assert "aborted: memory_free_mb: 90 MiB" in results.report


def _run_id(history: History) -> str:
    opened = history.first(RunOpened)
    assert opened is not None
    return opened[1].run_id


async def test_a_probe_command_that_objects_stops_the_run(tmp_path: Path, catalogue: Catalogue) -> None:
    history = await executed(Watched(), "abort: {command: ['false']}\n", tmp_path, catalogue)
    sealed = history.last(RunSealed)
    assert sealed is not None
    assert (sealed[1].reason, sealed[1].message) == (
        "aborted",
        "command: false ended with status 1",
    )


async def test_healing_that_fails_while_aborting_is_told(tmp_path: Path, catalogue: Catalogue) -> None:
    cluster = Watched()
    cluster.failing["undo"] = ClusterError("no answer")
    with pytest.raises(ExceptionGroup):
        await executed(cluster, f"abort: {{memory_free_mb: 500}}\n{PAUSED}", tmp_path, catalogue)


async def test_what_is_expected_stands_in_the_history_before_anything_happens(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    text = "abort: {command: ['false']}\nschedule: [{fault: kill_node, target: head, at_s: 5}]\n"
    history = await executed(Watched(), text, tmp_path, catalogue)
    expected = history[1].event
    assert isinstance(expected, SurvivalExpected)
    assert (expected.survives, expected.fatal) == (False, ("i1",))


async def test_a_cluster_without_a_head_is_not_waited_for(tmp_path: Path, catalogue: Catalogue) -> None:
    class Beheaded(Watched):
        """Its head has gone, and no sample shows it at rest any more once its driver has ended."""

        async def begin_run(self, recorder: Recorder) -> None:
            """The head goes."""
            recorder.append(NodeTerminated(node="head", cause="killed"))
            await super().begin_run(recorder)

        async def execute(self, module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str]) -> Any:
            """Its driver ends as the sampling does."""
            self.sampling.cancel()
            return await super().execute(module, arguments, environment=environment)

    cluster = Beheaded()
    cluster.processes = [FakeProcess([started()], status=-9)]
    cluster.data = tmp_path
    spec = parse("cluster: {idle_timeout_s: 600}\n", catalogue)
    directory = create(tmp_path, spec)
    await asyncio.wait_for(Run(spec, cluster, directory, versions={}, ask=ask).execute(), 30.0)
    sealed = History.load(directory.history).last(RunSealed)
    assert sealed is not None
    assert sealed[1].reason == "complete"
