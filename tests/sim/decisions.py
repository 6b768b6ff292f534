"""What the autoscaler decided in a run, so that two runs can be compared."""

from __future__ import annotations

from pathlib import Path

from chaos.campaign import Campaign
from chaos.clusters.sim import twin_of
from chaos.errors import ChaosError
from chaos.events import NodeLaunchFailed, NodeLaunching, NodeTerminated, NodeTerminating
from chaos.history import History
from chaos.sim.loop import run_in_virtual_time
from chaos.store import create
from tests.live.lab import Silence
from tests.sim.twin import twin_spec

_DECISIONS = (NodeLaunching, NodeLaunchFailed, NodeTerminating, NodeTerminated)


def recorded(text: str, store: Path) -> History:
    """The history of one run without a baseline, and whatever it ended with."""
    return History.load(written(text, store))


def written(text: str, store: Path) -> Path:
    """The same, in its file."""
    spec = twin_spec(text)

    async def main() -> Path:
        cluster = twin_of("twin", spec.cluster, seed=spec.seed)
        await cluster.start()
        directory = create(store, spec)
        try:
            campaign = Campaign(
                cluster, store=store, versions={}, view=Silence, run_id_of=lambda spec: spec.schedule.hash
            )
            await campaign.run(spec, directory, baseline=None)
        except ChaosError:
            pass  # the history says so
        finally:
            await cluster.stop()
        return directory.history

    return run_in_virtual_time(main)


def decisions(history: History) -> list[str]:
    """Launches asked for, refused and carried out, and ends of nodes, each with its time in milliseconds."""
    return [
        f"{record.t_s:.3f} {record.event.model_dump_json()}"
        for record in history
        if isinstance(record.event, _DECISIONS)
    ]
