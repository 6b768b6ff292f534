"""`slow_join`: an instance runs at once, and Ray on it starts late, as after a long setup script or image pull."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import LateRay
from faults.zombie_launch import asked_in_force, joins, usual_join_s

_OWN_SHARE = 0.5  # of the fastest join that was seen: so much of it any node takes


class SlowJoin(Fault):
    """On instances asked for while in force Ray starts `delay_s` after they run; of one type, at most `count`."""

    name: ClassVar[str] = "slow_join"
    summary: ClassVar[str] = "an instance runs, Ray on it starts late"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 60.0

    delay_s: float = Field(gt=0.0, le=3600.0)
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to start Ray late on what it launches."""
        assert isinstance(site.cluster, FaultsLaunches)
        harm = LateRay(node_type=self.node_type, count=self.count, delay_s=self.delay_s)
        await site.cluster.fault_launches(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for a node, asked for while in force, that joined later than its own time and `delay_s`.

        Later than is usual, too (`usual_join_s`). Its own time is half of the fastest join among those of its type, or
        of what is usual if that is less; where nothing says what is, `delay_s` has to do.
        """
        asked = asked_in_force(site)
        waited: dict[str, list[float]] = {}
        for join in joins(site):
            met = join.started_s >= site.injected_s and join.node in asked
            if met and self.node_type in (None, join.node_type):
                waited.setdefault(join.node_type, []).append(join.took_s)
        usual_s = {node_type: usual_join_s(site, node_type) or 0.0 for node_type in waited}
        late = [
            waited_s
            for node_type, all_s in waited.items()
            for waited_s in all_s
            if waited_s >= max(self.delay_s + _OWN_SHARE * min(usual_s[node_type], *all_s), usual_s[node_type])
        ]
        told = ", ".join(f"{usual_s[node_type]:.1f} s" for node_type in sorted(waited))
        if not late:
            detail = f"no node has joined later than the usual {told}" if waited else "no late node has joined"
            return Effect(outcome="unknown", detail=detail, asked=self.delay_s, unit="s")
        return Effect(
            outcome="took_effect",
            detail=f"{len(late)} of {sum(map(len, waited.values()))} nodes joined late; a node takes {told}",
            asked=self.delay_s,
            measured=round(max(late), 3),
            unit="s",
        )
