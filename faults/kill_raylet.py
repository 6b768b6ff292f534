"""`kill_raylet`: a node's raylet crashes; what started it then takes the whole node down."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import NodeProcess, SignalsProcesses
from chaos.events import NodeDied, NodeTerminated
from chaos.fault import ActsOn, Effect, Mainstay, Site
from faults.kill_worker_process import KillsProcesses


class KillsServer(KillsProcesses):
    """SIGKILL to the one process of each victim that its node cannot live without."""

    effect_within_s: ClassVar[float] = 60.0
    fatal_to: ClassVar[tuple[Mainstay, ...]] = ("head",)
    ends_nodes: ClassVar[bool] = True
    role: ClassVar[str]

    def means(self, process: NodeProcess) -> bool:
        """Whether it has the role."""
        return process.role == self.role

    async def probe(self, site: Site) -> Effect:
        """The kernel says that the process is gone, the GCS that its node is dead, the Cloud that it has ended."""
        assert isinstance(site.cluster, SignalsProcesses)
        process = await super().probe(site)
        if process.outcome != "took_effect":
            return process
        died_s = {event.node: r.t_s for r, event in site.history.of(NodeDied, since_s=site.injected_s)}
        ended_s = {event.node: r.t_s for r, event in site.history.of(NodeTerminated, since_s=site.injected_s)}
        if waiting := [victim for victim in site.victims if victim not in died_s]:
            return Effect(outcome="unknown", detail=f"the GCS has not seen {', '.join(waiting)} die")
        if waiting := [victim for victim in site.victims if victim not in ended_s]:
            return Effect(outcome="unknown", detail=f"the Cloud has not said that {', '.join(waiting)} ended")
        seen_s = max(died_s[victim] for victim in site.victims) - site.injected_s
        gone_s = max(ended_s[victim] for victim in site.victims) - site.injected_s
        detail = f"the {self.role} is gone, its node ended {gone_s:.1f} s later; the GCS saw every victim die"
        return Effect(outcome="took_effect", detail=detail, measured=round(seen_s, 3), unit="s")


class KillRaylet(KillsServer):
    """SIGKILL to each victim's raylet. Shows when the GCS has seen the node die and the Cloud its end."""

    name: ClassVar[str] = "kill_raylet"
    summary: ClassVar[str] = "SIGKILL to a node's raylet, which takes its node down"
    acts_on: ClassVar[ActsOn] = "nodes"
    role: ClassVar[str] = "raylet"
