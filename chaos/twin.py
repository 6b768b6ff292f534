"""Runs on the twin: what `raychaos run --cluster sim` does, in virtual time."""

from __future__ import annotations

import contextlib
from pathlib import Path

from chaos.campaign import Campaign
from chaos.clusters.sim import twin_of
from chaos.commands import Finished, concluded
from chaos.errors import InvalidSpec
from chaos.finish import to_the_end
from chaos.installed import versions
from chaos.report.live import live_view
from chaos.sim.autoscaler import LIMIT_PREFIX
from chaos.spec import RunSpec
from chaos.store import create, discard_unused
from chaos.survival import beyond_model, expected, in_words
from chaos.workload import HasModel


async def run_twin(spec: RunSpec, *, store: Path) -> Finished:
    """One run in virtual time, with its baseline; the event loop must be of `chaos.sim.loop`.

    Raises:
        ClusterError: the model cannot do it.
    """
    with live_view() as view, contextlib.ExitStack() as stack:
        directory = create(store, spec)
        stack.callback(discard_unused, directory)
        view.step(f"expected: {in_words(expected(spec))}")
        cluster = twin_of(spec.name, spec.cluster, seed=spec.seed)

        async def work() -> None:
            await cluster.start()
            campaign = Campaign(cluster, store=store, versions=versions(), view=lambda: view, run_id_of=repeatable_id)
            baseline = await campaign.baseline(spec, renew=True)
            await campaign.run(spec, directory, baseline=baseline)

        try:
            return await concluded(work, directory)
        finally:
            await to_the_end(cluster.stop())


def repeatable_id(spec: RunSpec) -> str:
    """What a run in virtual time is called in its history, which is the same whenever it is run."""
    return f"{spec.name}-{spec.schedule.hash}-{spec.seed}"


def refuse_beyond_model(spec: RunSpec) -> None:
    """Refuses, before anything starts, what the model has nothing of.

    Raises:
        InvalidSpec: says what, and where it can be done.
    """
    workload = spec.workload
    beyond = []
    if not isinstance(workload, HasModel):
        beyond.append(f"workload {workload.name} has no model")
    for variable, value in spec.cluster.ray_environment.items():
        if variable.startswith(LIMIT_PREFIX) and not value.strip().lstrip("-").isdigit():
            beyond.append(f"cluster.ray_environment: {variable} is {value!r}; Ray reads a whole number there: give one")
    if spec.abort.command:
        beyond.append("abort.command looks at a machine, and the model has none")
    for injection in spec.schedule.injections:
        if why := beyond_model(injection.fault, injection.target.select if injection.target else None):
            beyond.append(f"injection {injection.id}: {why}")
    if beyond:
        raise InvalidSpec("; ".join(beyond) + "; use --cluster local or compose")
