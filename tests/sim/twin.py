"""Runs on the twin for tests: a specification, its baseline, and what came of it."""

from __future__ import annotations

from pathlib import Path

import faults
import workloads
from chaos.campaign import Campaign
from chaos.clusters.sim import twin_of
from chaos.history import History
from chaos.results import Results, judge
from chaos.sim.loop import run_in_virtual_time
from chaos.spec import Catalogue, RunSpec, parse
from chaos.store import create
from tests.live.lab import Silence

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)


def twin_spec(text: str) -> RunSpec:
    """The specification a YAML text describes, on the twin."""
    return parse(text, KNOWN, overrides=["cluster.kind=sim"])


def run_on_twin(text: str, store: Path) -> Results:
    """One run with its baseline, judged."""
    spec = twin_spec(text)

    async def main() -> Path:
        cluster = twin_of("twin", spec.cluster, seed=spec.seed)
        await cluster.start()
        try:
            campaign = Campaign(
                cluster, store=store, versions={}, view=Silence, run_id_of=lambda spec: spec.schedule.hash
            )
            baseline = await campaign.baseline(spec, renew=True)
            directory = create(store, spec)
            await campaign.run(spec, directory, baseline=baseline)
            return directory.history
        finally:
            await cluster.stop()

    return judge(History.load(run_in_virtual_time(main)))
