"""Warm clusters that cannot be ended hide neither a run nor what became of it; the cluster is a stand-in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from chaos import warm
from chaos.commands import CLUSTERS
from chaos.errors import ClusterError, ExceptionGroup
from chaos.fuzz.runner import LiveRunner
from chaos.history import History
from chaos.report.live import SilentView
from chaos.spec import RunSpec
from chaos.store import RunDirectory
from chaos.warm import WarmClusters
from tests.conftest import ROOT
from workloads import BatchInference

SPEC = RunSpec(workload=BatchInference())


class Stuck:
    """A cluster that lost its head, and cannot be ended."""

    def __init__(self, name: str, spec: object) -> None:
        self.name = name

    async def start(self) -> None:
        """It is there."""

    def answers(self) -> bool:
        """It does."""
        return True

    async def nodes(self) -> tuple[()]:
        """None are left."""
        return ()

    async def stop(self) -> None:
        """Cannot be done."""
        raise ClusterError(f"{self.name} stays")


class Played:
    """A campaign whose runs are a recording, or an error."""

    error: Exception | None = None

    def __init__(self, *_: Any, **__: Any) -> None: ...

    async def baseline(self, spec: RunSpec) -> None:
        """There is one."""

    async def run(self, spec: RunSpec, directory: RunDirectory, *, baseline: None) -> History:
        """The recording."""
        if Played.error is not None:
            raise Played.error
        shutil.copy(ROOT / "tests" / "golden" / "local_hung" / "history.jsonl", directory.history)
        return History.load(directory.history)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(CLUSTERS, "local", Stuck)
    monkeypatch.setattr(warm, "Campaign", Played)
    monkeypatch.setattr(Played, "error", None)


async def test_a_run_is_there_though_its_cluster_cannot_be_ended(tmp_path: Path) -> None:
    clusters = WarmClusters("test", view=SilentView)
    path = await clusters.run(SPEC, store=tmp_path, scope="one")
    assert RunDirectory(path).history.exists()
    await clusters.end("another")
    with pytest.raises(ExceptionGroup, match="clusters could not be ended") as told:
        await clusters.end("one")
    assert [str(error).endswith("stays") for error in told.value.exceptions] == [True]
    await clusters.close()  # it was told


async def test_what_became_of_a_run_is_told_before_what_became_of_its_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Played, "error", ClusterError("the head died"))
    clusters = WarmClusters("test", view=SilentView)
    with pytest.raises(ClusterError, match="the head died"):
        await clusters.run(SPEC, store=tmp_path, scope="one")
    with pytest.raises(ExceptionGroup, match="clusters could not be ended"):
        await clusters.close()


async def test_one_that_does_not_answer_makes_room_though_it_cannot_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters = WarmClusters("test", view=SilentView)
    first = await clusters.obtain(SPEC.cluster, scope="one")
    monkeypatch.setattr(first, "answers", lambda: False)
    assert await clusters.obtain(SPEC.cluster, scope="one") is not first
    with pytest.raises(ExceptionGroup, match="clusters could not be ended") as told:
        await clusters.end("one")
    assert len(told.value.exceptions) == 2


def test_a_campaign_goes_on_with_another_cluster_though_one_cannot_be_ended(tmp_path: Path) -> None:
    runner = LiveRunner(tmp_path, lambda _: None)
    for workers in (1, 2):
        cluster = SPEC.cluster.model_copy(update={"max_workers": workers})
        runner.baseline(SPEC.model_copy(update={"cluster": cluster}))
    with pytest.raises(ExceptionGroup, match="clusters could not be ended") as told:
        runner.close()
    assert len(told.value.exceptions) == 2
