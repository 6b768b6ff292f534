"""`pause_process`: one of Ray's processes on a node hangs and goes on, while the rest of the node runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from chaos.cluster import SignalsProcesses, UndoesEffects
from chaos.cluster_spec import ClusterSpec
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import MODELLED_ROLES, Role


class StopsProcesses(Fault):
    """SIGSTOP to each victim's processes of one role, SIGCONT when healed; those that start meanwhile run."""

    needs: ClassVar[tuple[type, ...]] = (SignalsProcesses, UndoesEffects)
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 5.0

    @property
    @abstractmethod
    def stops(self) -> Role:
        """The role of the processes it stops."""

    async def measure_before(self, site: Site) -> Readings:
        """The start of each process to stop, by victim and PID."""
        assert isinstance(site.cluster, SignalsProcesses)
        return {
            (victim, str(process.pid)): float(process.started_ticks)
            for victim in site.victims
            for process in await site.cluster.processes_of(victim)
            if process.role == self.stops
        }

    async def inject(self, site: Site) -> None:
        """Stops them."""
        assert isinstance(site.cluster, SignalsProcesses)
        for victim in site.victims:
            await site.cluster.stop_processes(
                victim, self.stops, effect_id=site.effect_for(victim), lease_s=site.lease_s
            )

    async def probe(self, site: Site) -> Effect:
        """Reads from the kernel whether all are stopped that were there right before, and have not ended since."""
        if not site.before:
            return Effect(outcome="no_effect", detail=f"no process of role {self.stops} runs there")
        stopped, there = await self._count(site, site.victims, only=site.before)
        if not there:
            return Effect(outcome="unknown", detail=f"every process of role {self.stops} there was has ended")
        return Effect(
            outcome="took_effect" if stopped == there else "unknown",
            detail=f"{stopped} of {there} processes of role {self.stops} are stopped",
            measured=float(stopped),
            unit="processes",
        )

    async def probe_healed(self, site: Site) -> Effect:
        """Reads from the kernel whether one of them is still stopped, unless another injection holds it."""
        ours, others = await site.active()
        stopped, there = await self._count(site, [node for node in site.victims if not others.explain(node)])
        if ours or stopped:
            detail = f"{stopped} of {there} processes of role {self.stops} are still stopped"
            return Effect(outcome="took_effect", detail=detail)
        return Effect(outcome="no_effect", detail=f"no process of role {self.stops} is stopped by us")

    async def _count(self, site: Site, victims: Iterable[str], *, only: Readings | None = None) -> tuple[int, int]:
        """How many processes of the role are stopped, and how many there are, of `only` those where given."""
        assert isinstance(site.cluster, SignalsProcesses)
        ours = [
            process
            for victim in victims
            for process in await site.cluster.processes_of(victim)
            if process.role == self.stops
            and (only is None or only.get((victim, str(process.pid))) == float(process.started_ticks))
        ]
        return sum(process.stopped for process in ours), len(ours)


class PauseProcess(StopsProcesses):
    """Each victim's processes of `role` stop being scheduled until healed."""

    name: ClassVar[str] = "pause_process"
    summary: ClassVar[str] = "stop one role's processes on a node, then let them go on"
    acts_on: ClassVar[ActsOn] = "nodes"

    role: Role

    def impossible(self, cluster: ClusterSpec, selected: str | None) -> str:
        """Some roles there are on the head only, the driver on one kind of node, and few in the twin's model."""
        if cluster.kind == "sim" and self.role not in MODELLED_ROLES:
            return f"the twin cannot stop a {self.role} alone, only: {', '.join(sorted(MODELLED_ROLES))}"
        if self.role == "driver" and cluster.driver_on != "head":
            return f"the driver runs on {cluster.driver_on!r}, not on the head" if selected == "head" else ""
        if self.role in ("gcs_server", "monitor", "driver") and selected != "head":
            return f"only the head has a process of role {self.role}; give target: head"
        return ""

    @property
    def stops(self) -> Role:
        """The role asked for."""
        return self.role
