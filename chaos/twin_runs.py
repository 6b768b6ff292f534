"""Runs on the twin, for code that has no event loop: each on a model of its own, in virtual time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from chaos.campaign import Campaign, View
from chaos.clusters.sim import twin_of
from chaos.events import BaselineKnown
from chaos.finish import to_the_end
from chaos.installed import versions
from chaos.schedule import Schedule
from chaos.sim.loop import run_in_virtual_time
from chaos.spec import RunSpec
from chaos.store import create
from chaos.twin import refuse_beyond_model, repeatable_id

T = TypeVar("T")


class TwinRuns:
    """Runs specifications; what a fault-free run measures is kept for others of the same cluster, workload and seed."""

    def __init__(self, *, view: Callable[[], View]) -> None:
        self._view = view
        self._baselines: dict[str, BaselineKnown] = {}

    def run(self, spec: RunSpec, *, store: Path, baseline: BaselineKnown | None = None) -> Path:
        """One run, after its own fault-free one where no `baseline` is given; its directory.

        Raises:
            InvalidSpec: the model has nothing of what the specification asks for.
            BaselineFailed: the fault-free run did not pass.
        """
        refuse_beyond_model(spec)
        baseline = baseline or self.baseline(spec)
        directory = create(store, spec)
        run_in_virtual_time(
            lambda: self._on_fresh(spec, store, lambda campaign: campaign.run(spec, directory, baseline=baseline))
        )
        return directory.path

    def baseline(self, spec: RunSpec, *, store: Path | None = None) -> BaselineKnown:
        """What a fault-free run measures; one that did not pass lies in `store`, or in a temporary directory.

        Raises:
            InvalidSpec: the model has nothing of what the specification asks for.
            BaselineFailed: the fault-free run did not pass.
            NoBaseline: it cannot serve as a baseline.
        """
        refuse_beyond_model(spec.model_copy(update={"schedule": Schedule()}))
        key = spec.model_copy(update={"schedule": Schedule()}).to_yaml()
        if key not in self._baselines:
            into = Path(tempfile.mkdtemp(prefix="raychaos-baseline-", dir=store))
            self._baselines[key] = run_in_virtual_time(
                lambda: self._on_fresh(spec, into, lambda campaign: campaign.measured(spec))
            )
            shutil.rmtree(into)
        return self._baselines[key]

    async def _on_fresh(self, spec: RunSpec, store: Path, work: Callable[[Campaign], Awaitable[T]]) -> T:
        cluster = twin_of(spec.name, spec.cluster, seed=spec.seed)
        try:
            await cluster.start()
            return await work(
                Campaign(cluster, store=store, versions=versions(), view=self._view, run_id_of=repeatable_id)
            )
        finally:
            await to_the_end(cluster.stop())
