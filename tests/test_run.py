"""A run is made on a clean cluster only, and says in its history that it looked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chaos import run as run_module
from chaos.cluster import LaunchFault
from chaos.errors import ClusterError
from chaos.events import CleanlinessChecked, FingerprintTaken, RunSealed, WorkloadStarted
from chaos.history import History
from chaos.probe_command import ask
from chaos.run import Run
from chaos.spec import Catalogue, parse
from chaos.store import create
from tests.doubles import FakeCluster


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
