"""`kill_gcs`: Ray's global control service crashes."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import NodeProcess
from chaos.events import ClusterSampled, NodeTerminated
from chaos.fault import ActsOn, Effect, Mainstay, Site
from faults.kill_worker_process import KillsProcesses


class KillGcs(KillsProcesses):
    """SIGKILL to the GCS server. The head goes down with it, whatever storage it has, and with that the job."""

    name: ClassVar[str] = "kill_gcs"
    summary: ClassVar[str] = "SIGKILL to the GCS server, which takes the head down"
    acts_on: ClassVar[ActsOn] = "head"
    effect_within_s: ClassVar[float] = 30.0
    ends_nodes: ClassVar[bool] = True
    fatal_to: ClassVar[tuple[Mainstay, ...]] = ("head",)

    def hits(self, selected: str | None) -> frozenset[Mainstay]:  # noqa: ARG002 -- there is one GCS
        """The head, and the driver that runs there."""
        return frozenset(("head", "driver"))

    def means(self, process: NodeProcess) -> bool:
        """Whether it is the GCS server."""
        return process.role == "gcs_server"

    async def probe(self, site: Site) -> Effect:
        """The kernel says that it is gone; the observer, that nobody answers, or the Cloud, that the head ended."""
        process = await super().probe(site)
        if process.outcome != "took_effect":
            return process
        silent = [r.t_s for r, e in site.history.of(ClusterSampled, since_s=site.injected_s) if not e.reachable]
        ended = [r.t_s for r, e in site.history.of(NodeTerminated, since_s=site.injected_s) if e.node == "head"]
        if not silent and not ended:
            return Effect(outcome="unknown", detail="the GCS server is gone, and yet it was not missed")
        told = "the GCS server is gone, " + ("the head has ended" if ended else "the GCS no longer answers")
        return Effect(
            outcome="took_effect", detail=told, measured=round(min(silent + ended) - site.injected_s, 3), unit="s"
        )
