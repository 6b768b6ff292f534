"""Warm clusters for live tests, and runs on them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from chaos.campaign import Campaign
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from chaos.errors import ClusterError
from chaos.events import BaselineKnown, RunOpened
from chaos.history import History, Record
from chaos.installed import versions
from chaos.results import Results, judge, write
from chaos.spec import Catalogue, RunSpec, parse
from chaos.store import RunDirectory, create

# A cluster at rest costs a twelfth of a core: more of them, and what the tests wait for is slower for it.
KEPT_WARM = 3


class Silence:
    """A view that shows nothing."""

    def step(self, text: str) -> None: ...

    def show(self, record: Record) -> None: ...

    def tick(self, now_s: float) -> None: ...

    def close(self) -> None: ...


class Lab:
    """Clusters by specification, kept warm: the last few that were used, until it is closed.

    Their names begin with the lab's.
    """

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
        # The one used last is the last.
        self._clusters: dict[str, CloudCluster] = {}
        self._in_use: Counter[str] = Counter()
        self._made = 0
        self.started: set[str] = set()
        """The kinds of cluster it has started."""
        self.starting = asyncio.Lock()
        """Held while a cluster starts: Ray gives a head 30 s, which two at once may miss on a slow machine."""

    def spec(self, text: str, kind: str) -> RunSpec:
        """The specification a YAML text describes, for one kind of cluster."""
        return parse(text, self._catalogue, overrides=[f"cluster.kind={kind}"])

    async def cluster(self, spec: RunSpec) -> CloudCluster:
        """A warm cluster of this specification; it is there until others are asked for.

        Raises:
            ClusterError: it was started, and is not there any more.
        """
        key = spec.cluster.model_dump_json()
        async with self.starting:
            kept = self._clusters.pop(key, None)
            if kept is None:
                await self._make_room()
                self._made += 1
                kept = self._kinds[spec.cluster.kind](f"{self._name}-{spec.cluster.kind}-{self._made}", spec.cluster)
                self.started.add(spec.cluster.kind)
                await kept.start()
            self._clusters[key] = kept
        if not kept.answers():
            raise ClusterError(f"the lab's {kept.name!r} has ended: did a test keep its lease from being renewed?")
        return kept

    @asynccontextmanager
    async def _using(self, spec: RunSpec) -> AsyncIterator[CloudCluster]:
        """A warm cluster that is not ended meanwhile."""
        key = spec.cluster.model_dump_json()
        self._in_use[key] += 1
        try:
            yield await self.cluster(spec)
        finally:
            self._in_use[key] -= 1

    async def _make_room(self) -> None:
        while len(self._clusters) >= KEPT_WARM:
            unused = next((key for key in self._clusters if not self._in_use[key]), None)
            if unused is None:
                return
            await self._clusters.pop(unused).stop()

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
        async with self._using(measured) as rested:
            baseline = await self._campaign(rested).baseline(measured)
        if on is not None:
            return await self._run(spec, on, baseline, meanwhile)
        async with self._using(spec) as cluster:
            return await self._run(spec, cluster, baseline, meanwhile)

    def _campaign(self, cluster: CloudCluster) -> Campaign:
        return Campaign(cluster, store=self.store, versions=versions(), view=Silence)

    async def _run(
        self,
        spec: RunSpec,
        cluster: CloudCluster,
        baseline: BaselineKnown,
        meanwhile: Callable[[RunDirectory], Awaitable[None]] | None,
    ) -> Results:
        directory = create(self.store, spec)
        beside = asyncio.ensure_future(meanwhile(directory)) if meanwhile is not None else None
        try:
            await self._campaign(cluster).run(spec, directory, baseline=baseline)
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
        """Ends all clusters; what is asked for later is started again."""
        while self._clusters:
            await self._clusters.popitem()[1].stop()
