"""One schedule on the twin, judged: what failed, within half a second; the baseline is measured once."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterable
from pathlib import Path

from chaos.baseline import measure
from chaos.campaign import Campaign
from chaos.checker import Verdict
from chaos.checkers import evaluate
from chaos.clusters.sim import twin_of
from chaos.events import BaselineKnown
from chaos.history import History
from chaos.sim.loop import run_in_virtual_time
from chaos.spec import RunSpec
from chaos.store import create
from tests.live.lab import Silence
from tests.quality.bugs import Bug
from tests.quality.schedules import specification
from tests.sim.twin import twin_spec

# What the schedule is to blame for, or the machine; not the autoscaler.
NOT_OF_THE_AUTOSCALER = ("faults_took_effect", "host_not_starved", "nothing_left_behind")


def history_of(text: str, *, baseline: BaselineKnown | None, bug: Bug | None = None) -> History:
    """The history of one run on the twin of what a specification says; Ray has the bug once the cluster is up."""
    return history_of_spec(twin_spec(text), baseline=baseline, bug=bug)


def history_of_spec(spec: RunSpec, *, baseline: BaselineKnown | None, bug: Bug | None = None) -> History:
    """The same of a specification that was read."""

    async def main(store: Path) -> History:
        cluster = twin_of("twin", spec.cluster, seed=spec.seed)
        await cluster.start()
        try:
            campaign = Campaign(
                cluster, store=store, versions={}, view=Silence, run_id_of=lambda one: one.schedule.hash
            )
            with bug.planted() if bug else contextlib.nullcontext():
                return await campaign.run(spec, create(store, spec), baseline=baseline)
        finally:
            await cluster.stop()

    with tempfile.TemporaryDirectory() as place:
        return run_in_virtual_time(lambda: main(Path(place)))


@functools.cache
def usual() -> BaselineKnown:
    """What the job takes without faults and without bugs."""
    return measure(history_of(specification(""), baseline=None))


def found(text: str, bug: Bug, *, without: set[str]) -> set[str]:
    """The properties that a bug takes from a run of this specification; without it the run lacks those of `without`."""
    return set(failures(text, bug=bug)) - without


def failures(text: str, *, bug: Bug | None = None) -> dict[str, Verdict]:
    """The properties of the autoscaler that a run of this specification does not have."""
    return failed_of(evaluate(history_of(text, baseline=usual(), bug=bug)))


def failed_of(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    """Those of the autoscaler's properties that failed."""
    return {
        verdict.name: verdict
        for verdict in verdicts
        if verdict.verdict == "fail" and verdict.name not in NOT_OF_THE_AUTOSCALER
    }
