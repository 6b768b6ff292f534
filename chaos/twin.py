"""Runs on the twin: what `raychaos run --cluster sim` does, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from chaos.campaign import BaselineFailed, Campaign
from chaos.clusters.sim import SimCluster
from chaos.commands import Finished, conclude, versions
from chaos.errors import InvalidSpec
from chaos.finish import to_the_end
from chaos.report.live import live_view
from chaos.spec import RunSpec
from chaos.store import create, discard_unused, point_latest
from chaos.survival import expected, in_words
from chaos.workload import Workload


async def run_twin(spec: RunSpec, *, store: Path) -> Finished:
    """One run in virtual time, with its baseline; the event loop must be of `chaos.sim.loop`.

    Raises:
        ClusterError: the model cannot do it.
    """
    with live_view() as view, contextlib.ExitStack() as stack:
        directory = create(store, spec)
        stack.callback(discard_unused, directory)
        view.step(f"expected: {in_words(expected(spec))}")
        cluster = SimCluster(spec.name, spec.cluster, seed=spec.seed)
        try:
            await cluster.start()
            campaign = Campaign(cluster, store=store, versions=versions(), view=lambda: view, run_id_of=_repeatable_id)
            baseline = await campaign.baseline(spec, renew=True)
            await campaign.run(spec, directory, baseline=baseline)
            return conclude(directory, interrupted=False)
        except asyncio.CancelledError:
            if not directory.history.exists():
                raise
            return conclude(directory, interrupted=True)
        except BaselineFailed as failed:
            point_latest(failed.directory)
            return Finished(failed.directory, failed.results)
        finally:
            await to_the_end(cluster.stop())


def _repeatable_id(spec: RunSpec) -> str:
    """What a run in virtual time is called in its history, which is the same whenever it is run."""
    return f"{spec.name}-{spec.schedule.hash}-{spec.seed}"


def refuse_beyond_model(spec: RunSpec) -> None:
    """Refuses, before anything starts, what the model has nothing of.

    Raises:
        InvalidSpec: says what, and where it can be done.
    """
    workload = spec.workload
    beyond = []
    if type(workload).play is Workload.play:
        beyond.append(f"workload {workload.name} has no model")
    if spec.cluster.driver_on != "head":
        beyond.append("the driver runs beside the model: cluster.driver_on must be 'head'")
    if spec.abort.command:
        beyond.append("abort.command looks at a machine, and the model has none")
    for injection in spec.schedule.injections:
        if hit := injection.mainstays:
            what = " and ".join(sorted(hit))
            beyond.append(f"injection {injection.id}: the model's {what} cannot be hit")
    if beyond:
        raise InvalidSpec("; ".join(beyond) + "; use --cluster local or compose")
