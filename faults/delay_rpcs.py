"""`delay_rpcs`: Ray's own handlers run late on nodes that start meanwhile, as on a machine that is overcommitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from chaos.cluster import FaultsRpcs, UndoesEffects
from chaos.drawn import Drawn
from chaos.events import NodeStarted
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import RpcFault

Method = Annotated[str, Field(pattern=r"^(\*|[A-Za-z][A-Za-z0-9_.:]*)$")]


class DelayRpcs(Fault):
    """On nodes started while in force, each handler of `methods` runs `min_delay_ms` to `max_delay_ms` late."""

    name: ClassVar[str] = "delay_rpcs"
    summary: ClassVar[str] = "Ray's own handlers run late on nodes that start meanwhile"
    needs: ClassVar[tuple[type, ...]] = (FaultsRpcs, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 60.0

    methods: tuple[Method, ...] = Field(default=("*",), min_length=1)
    min_delay_ms: Annotated[int, Drawn(most=1000)] = Field(default=0, ge=0)
    max_delay_ms: Annotated[int, Drawn(most=5000)] = Field(ge=1, le=60000)

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """The least is not above the most."""
        return {**drawn, "min_delay_ms": min(drawn["min_delay_ms"], drawn["max_delay_ms"])}

    @model_validator(mode="after")
    def _ordered(self) -> DelayRpcs:
        if self.min_delay_ms > self.max_delay_ms:
            raise ValueError(f"min_delay_ms {self.min_delay_ms} is above max_delay_ms {self.max_delay_ms}")
        return self

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to start nodes so."""
        assert isinstance(site.cluster, FaultsRpcs)
        fault = RpcFault(methods=self.methods, min_delay_ms=self.min_delay_ms, max_delay_ms=self.max_delay_ms)
        await site.cluster.fault_rpcs(fault, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether Ray says, on nodes that started since and whose raylet carries the fault, that it delays."""
        assert isinstance(site.cluster, FaultsRpcs)
        carrying = delaying = 0
        for _, event in site.history.of(NodeStarted, since_s=site.injected_s):
            seen = await site.cluster.rpc_faults_seen(event.node)
            if seen is not None and all(method in seen.delaying for method in self.methods):
                carrying += 1
                # Of methods that are not named Ray does not say that it delays them.
                delaying += seen.announced if "*" in self.methods else seen.delayed > 0
        if not carrying:
            return Effect(outcome="unknown", detail="no node has started that carries the fault")
        detail = f"{carrying} node(s) carry the fault, Ray says on {delaying} that it delays"
        return Effect(
            outcome="took_effect" if delaying else "unknown", detail=detail, measured=float(delaying), unit="nodes"
        )
