"""`kill_autoscaler`: Ray's autoscaler ends, which Ray starts again by nobody."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import EndsProcesses, SignalsProcesses, UndoesEffects
from chaos.errors import InjectionError
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import EndedProcess


class KillAutoscaler(Fault):
    """The autoscaler's process, Ray's monitor, is gone for as long as it lasts, and for good without `restart`."""

    name: ClassVar[str] = "kill_autoscaler"
    summary: ClassVar[str] = "end Ray's autoscaler, and start it again later"
    needs: ClassVar[tuple[type, ...]] = (EndsProcesses, SignalsProcesses, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "head"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 10.0

    restart: bool = True

    @property
    def strands(self) -> str:
        """Without a restart."""
        return "" if self.restart else "what waits for nodes waits for ever without an autoscaler"

    async def measure_before(self, site: Site) -> Readings:
        """How many monitors the head has."""
        monitors, _ = await self._count(site)
        return {("head",): float(monitors)}

    async def inject(self, site: Site) -> None:
        """Ends it.

        Raises:
            InjectionError: the head has no monitor.
        """
        if not site.before.get(("head",)):
            raise InjectionError(
                "the head has no monitor to end: another kill_autoscaler holds it, or ended it with restart: false; "
                "leave one of them out, or let them not overlap"
            )
        assert isinstance(site.cluster, EndsProcesses)
        end = EndedProcess(role="monitor", restart=self.restart)
        await site.cluster.end_process("head", end, effect_id=site.effect_for("head"), lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Reads from the kernel whether the head has no monitor, and still has its GCS server."""
        monitors, servers = await self._count(site)
        if not servers:
            return Effect(outcome="no_effect", detail="the head itself is gone")
        if monitors:
            return Effect(outcome="unknown", detail="the monitor is still there")
        return Effect(outcome="took_effect", detail="the head has no monitor, and runs on")

    async def probe_healed(self, site: Site) -> Effect:
        """Reads from the kernel whether the head has a monitor again, where it is to have one."""
        ours, others = await site.active()
        monitors, servers = await self._count(site)
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        if not self.restart or not servers:
            return Effect(outcome="no_effect", detail="left as it is: without an autoscaler")
        if not monitors and not others.explain("head"):
            return Effect(outcome="took_effect", detail="the head has no monitor yet")
        return Effect(outcome="no_effect", detail="the head has a monitor again")

    async def _count(self, site: Site) -> tuple[int, int]:
        assert isinstance(site.cluster, SignalsProcesses)
        roles = [process.role for process in await site.cluster.processes_of("head")]
        return roles.count("monitor"), roles.count("gcs_server")
