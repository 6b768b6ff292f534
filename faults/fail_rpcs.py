"""`fail_rpcs`: Ray's own RPCs fail on nodes that start meanwhile, as between machines with a bad network card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from chaos.cluster import FaultsRpcs, UndoesEffects
from chaos.events import NodeStarted
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import RpcFault

Method = Annotated[str, Field(pattern=r"^(\*|[A-Za-z][A-Za-z0-9_.:]*)$")]


class FailRpcs(Fault):
    """On nodes started while in force, so many percent of calls of `methods` fail before, or after, they are served."""

    name: ClassVar[str] = "fail_rpcs"
    summary: ClassVar[str] = "Ray's own calls fail on nodes that start meanwhile"
    needs: ClassVar[tuple[type, ...]] = (FaultsRpcs, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 60.0

    methods: tuple[Method, ...] = Field(default=("*",), min_length=1)
    request_failure_percent: int = Field(default=0, ge=0, le=100)
    response_failure_percent: int = Field(default=0, ge=0, le=100)

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """Some fail, and not more than all."""
        request = drawn["request_failure_percent"]
        response = min(drawn["response_failure_percent"], 100 - request)
        return {**drawn, "request_failure_percent": request or int(not response), "response_failure_percent": response}

    @model_validator(mode="after")
    def _some_fail(self) -> FailRpcs:
        if not 0 < self.request_failure_percent + self.response_failure_percent <= 100:
            raise ValueError("request_failure_percent and response_failure_percent add up to between 1 and 100")
        return self

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to start nodes so."""
        assert isinstance(site.cluster, FaultsRpcs)
        fault = RpcFault(
            methods=self.methods,
            request_failure_percent=self.request_failure_percent,
            response_failure_percent=self.response_failure_percent,
        )
        await site.cluster.fault_rpcs(fault, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for failures in Ray's logs on nodes that started since, and whose raylet carries the fault."""
        assert isinstance(site.cluster, FaultsRpcs)
        carrying = failed = 0
        for _, event in site.history.of(NodeStarted, since_s=site.injected_s):
            seen = await site.cluster.rpc_faults_seen(event.node)
            if seen is not None and all(method in seen.failing for method in self.methods):
                carrying += 1
                failed += seen.failed
        if not carrying:
            return Effect(outcome="unknown", detail="no node has started that carries the fault")
        detail = f"{carrying} node(s) carry the fault, {failed} calls failed there"
        return Effect(
            outcome="took_effect" if failed else "unknown", detail=detail, measured=float(failed), unit="calls"
        )
