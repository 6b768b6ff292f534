"""Warm clusters for live tests, and runs on them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from chaos.campaign import Campaign
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS, versions
from chaos.errors import ClusterError
from chaos.events import RunOpened
from chaos.history import History, Record
from chaos.results import Results, judge, write
from chaos.spec import Catalogue, RunSpec, parse
from chaos.store import RunDirectory, create


class Silence:
    """A view that shows nothing."""

    def step(self, text: str) -> None: ...

    def show(self, record: Record) -> None: ...

    def tick(self, now_s: float) -> None: ...

    def close(self) -> None: ...


class Lab:
    """Clusters by specification, started once and kept until it is closed; their names begin with the lab's."""

    def __init__(
        self,
        store: Path,
        catalogue: Catalogue,
        *,
        name: str = "lab",
        kinds: Mapping[str, type[CloudCluster]] = CLUSTERS,
    ) -> None:
        self.store = store
        self._catalogue = catalogue
        self._name = name
        self._kinds = kinds
        self._clusters: dict[str, CloudCluster] = {}

    @property
    def started(self) -> set[str]:
        """The kinds of cluster it has started."""
        return {cluster.kind for cluster in self._clusters.values()}

    def spec(self, text: str, kind: str) -> RunSpec:
        """The specification a YAML text describes, for one kind of cluster."""
        return parse(text, self._catalogue, overrides=[f"cluster.kind={kind}"])

    async def cluster(self, spec: RunSpec) -> CloudCluster:
        """A warm cluster of this specification.

        Raises:
            ClusterError: it was started, and is not there any more.
        """
        key = spec.cluster.model_dump_json()
        if key not in self._clusters:
            name = f"{self._name}-{spec.cluster.kind}-{len(self._clusters)}"
            cluster = self._kinds[spec.cluster.kind](name, spec.cluster)
            await cluster.start()
            self._clusters[key] = cluster
        kept = self._clusters[key]
        if not kept.answers():
            raise ClusterError(f"the lab's {kept.name!r} has ended: did a test keep its lease from being renewed?")
        return kept

    async def run(
        self,
        spec: RunSpec,
        *,
        on: CloudCluster | None = None,
        baseline_of: RunSpec | None = None,
        meanwhile: Callable[[RunDirectory], Awaitable[None]] | None = None,
    ) -> Results:
        """One run with its baseline (or another specification's), judged; its directory is as the command leaves it.

        `meanwhile` is given the directory and goes on beside the run, which ends it if it has not ended by then.
        """
        measured = baseline_of or spec
        ruler = Campaign(await self.cluster(measured), store=self.store, versions=versions(), view=Silence)
        baseline = await ruler.baseline(measured)
        campaign = Campaign(on or await self.cluster(spec), store=self.store, versions=versions(), view=Silence)
        directory = create(self.store, spec)
        beside = asyncio.ensure_future(meanwhile(directory)) if meanwhile is not None else None
        try:
            await campaign.run(spec, directory, baseline=baseline)
        finally:
            if beside is not None and not beside.cancel():
                beside.result()
        results = judge(History.load(directory.history))
        write(results, directory)
        return results

    def directory_of(self, results: Results) -> RunDirectory:
        """Where a run lies."""
        opened = results.history.first(RunOpened)
        assert opened is not None
        return RunDirectory(self.store / opened[1].run_id)

    async def close(self) -> None:
        """Ends all clusters."""
        for cluster in self._clusters.values():
            await cluster.stop()
