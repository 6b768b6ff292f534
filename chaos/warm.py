"""Clusters kept warm between runs: started once for a specification, proven clean after each run, rebuilt when not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from chaos import commands
from chaos.campaign import Campaign, View
from chaos.cluster_spec import ClusterSpec
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.errors import ChaosError, ClusterError, ClusterUnavailable, ExceptionGroup
from chaos.events import BaselineKnown, CleanlinessChecked, RunSealed
from chaos.finish import to_the_end
from chaos.history import History
from chaos.installed import versions
from chaos.spec import RunSpec
from chaos.store import create

T = TypeVar("T")


class WarmClusters:
    """One cluster a specification, each held for this process alone; their names begin with `name`.

    Whoever asks for a run names a scope; clusters of a scope end with `end`, or all with `close`. That one could not be
    ended is told then, so that it hides neither a run nor what became of it.
    """

    def __init__(self, name: str, *, view: Callable[[], View]) -> None:
        self._name = name
        self._view = view
        self._started = 0
        self._clusters: dict[tuple[str, str], CloudCluster] = {}
        self._held: dict[str, contextlib.ExitStack] = {}
        self._not_ended: list[tuple[str, Exception]] = []

    async def run(self, spec: RunSpec, *, store: Path, scope: str) -> Path:
        """One run on the warm cluster of its specification, after a baseline where none is kept; its directory.

        Raises:
            ClusterUnavailable: this machine cannot run the cluster.
            ClusterError: it failed; the next run gets another.
            BaselineFailed: the fault-free run did not pass.
        """

        async def work(campaign: Campaign, cluster: CloudCluster) -> tuple[Path, bool]:
            baseline = await campaign.baseline(spec)
            directory = create(store, spec)
            history = await campaign.run(spec, directory, baseline=baseline)
            headed = any(node.node == "head" for node in await cluster.nodes())
            return directory.path, _clean(history) and headed

        path, healthy = await self._on(spec, work, store=store, scope=scope)
        if not healthy:
            await to_the_end(self.let_go(spec.cluster, scope=scope))
        return path

    async def baseline(self, spec: RunSpec, *, store: Path, scope: str) -> BaselineKnown:
        """What a fault-free run measures on the warm cluster of a specification: kept from earlier, or run now.

        Raises:
            ClusterUnavailable: this machine cannot run the cluster.
            ClusterError: it failed; the next run gets another.
            BaselineFailed: the fault-free run did not pass.
            NoBaseline: it cannot serve as one.
        """
        return await self._on(spec, lambda campaign, _: campaign.baseline(spec), store=store, scope=scope)

    async def _on(
        self, spec: RunSpec, work: Callable[[Campaign, CloudCluster], Awaitable[T]], *, store: Path, scope: str
    ) -> T:
        try:
            await commands.refuse_unmakeable(spec)
            cluster = await self.obtain(spec.cluster, scope=scope)
        except ClusterError as error:
            raise ClusterUnavailable(str(error)) from error
        try:
            return await work(Campaign(cluster, store=store, versions=versions(), view=self._view), cluster)
        except BaseException:
            await to_the_end(self.let_go(spec.cluster, scope=scope))
            raise

    async def leave(self, spec: ClusterSpec, *, scope: str) -> str | None:
        """Lets the cluster of a specification outlive this process; says how to use it. None where there is none."""
        cluster = self._clusters.pop((spec.model_dump_json(), scope), None)
        if cluster is None:
            return None
        try:
            await cluster.keep()
        except BaseException:
            await to_the_end(self._stop(cluster))
            raise
        try:
            return cluster.how_to_connect()
        finally:
            await cluster.release()
            self._held.pop(cluster.name).close()

    async def end(self, scope: str) -> None:
        """Ends the clusters of a scope.

        Raises:
            ExceptionGroup: some could not be ended, now or after a run.
        """
        before = [error for of, error in self._not_ended if of == scope]
        self._not_ended = [(of, error) for of, error in self._not_ended if of != scope]
        await to_the_end(self._end([key for key in self._clusters if key[1] == scope], before))

    async def close(self) -> None:
        """Ends all clusters.

        Raises:
            ExceptionGroup: some could not be ended, now or after a run.
        """
        before, self._not_ended = [error for _, error in self._not_ended], []
        await to_the_end(self._end(list(self._clusters), before))

    async def obtain(self, spec: ClusterSpec, *, scope: str) -> CloudCluster:
        """The warm cluster of a specification, started if there is none that answers."""
        key = (spec.model_dump_json(), scope)
        if key in self._clusters and not self._clusters[key].answers():
            await self.let_go(spec, scope=scope)
        if key not in self._clusters:
            self._started += 1
            name = f"{self._name}-{os.getpid()}-{self._started}"
            with contextlib.ExitStack() as held:
                held.enter_context(commands.alone(name))
                cluster = commands.CLUSTERS[spec.kind](name, spec)
                await cluster.start()
                self._held[name] = held.pop_all()
            self._clusters[key] = cluster
        return self._clusters[key]

    async def let_go(self, spec: ClusterSpec, *, scope: str) -> None:
        """Ends the cluster of a specification; the next one to ask gets another.

        Why it could not be ended is told when its scope ends, or all.
        """
        cluster = self._clusters.pop((spec.model_dump_json(), scope), None)
        if cluster is None:
            return
        try:
            await self._stop(cluster)
        except (ChaosError, OSError) as error:
            self._not_ended.append((scope, error))

    async def _end(self, keys: list[tuple[str, str]], errors: list[Exception]) -> None:
        """Ends each, whatever becomes of the others."""
        for key in keys:
            try:
                await self._stop(self._clusters.pop(key))
            except (ChaosError, OSError) as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup("clusters could not be ended", errors)

    async def _stop(self, cluster: CloudCluster) -> None:
        try:
            await cluster.stop()
        finally:
            self._held.pop(cluster.name).close()


def _clean(history: History) -> bool:
    """Whether the run came to its end and left nothing behind."""
    sealed, checked = history.last(RunSealed), history.last(CleanlinessChecked)
    return sealed is not None and sealed[1].reason != "error" and checked is not None and not checked[1].leftovers
