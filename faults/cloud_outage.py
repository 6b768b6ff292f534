"""`cloud_outage`: the cloud's API cannot be reached, is slow, or fails."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from chaos.cluster import FaultsAnswers, UndoesEffects
from chaos.events import AutoscalerLogged
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import Outage

_SHOWS_AS = {"unreachable": "unreachable", "slow": "slow", "failing": "failed"}


class CloudOutage(Fault):
    """Ray's calls of the API get no answer, one `delay_s` late, or, `percent` of them, an error, as `mode` says."""

    name: ClassVar[str] = "cloud_outage"
    summary: ClassVar[str] = "the cloud's API is unreachable, slow, or failing"
    needs: ClassVar[tuple[type, ...]] = (FaultsAnswers, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cloud"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 15.0

    mode: Literal["unreachable", "slow", "failing"] = "unreachable"
    delay_s: float | None = Field(default=None, gt=0.0, le=600.0)
    percent: float | None = Field(default=None, gt=0.0, le=100.0)

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """What its mode does not take is left out."""
        mode = drawn["mode"]
        delay_s = (drawn["delay_s"] or 1.0) if mode == "slow" else None
        return {**drawn, "delay_s": delay_s, "percent": drawn["percent"] if mode == "failing" else None}

    @model_validator(mode="after")
    def _of_its_mode(self) -> CloudOutage:
        if (self.delay_s is not None) != (self.mode == "slow"):
            raise ValueError("mode slow takes delay_s, and no other mode does")
        if self.percent is not None and self.mode != "failing":
            raise ValueError("only mode failing takes percent")
        return self

    async def inject(self, site: Site) -> None:
        """Takes the API away from Ray."""
        assert isinstance(site.cluster, FaultsAnswers)
        harm = Outage(
            mode=self.mode,
            delay_s=self.delay_s or 0.0,
            percent=100.0 if self.percent is None else self.percent,
            stream=site.stream if self.mode == "failing" else "",
        )
        await site.cluster.fault_answers(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for calls of Ray's that went so and, unless they were only slow, for its autoscaler saying so."""
        harmed = site.answered_wrong(_SHOWS_AS[self.mode])
        if not harmed:
            return Effect(outcome="unknown", detail="Ray has not called the API yet")
        if self.mode == "slow":
            detail = f"{harmed} calls were answered late"
            # The healing lets go whatever is held.
            asked_s = min(self.delay_s or 0.0, site.duration_s or math.inf)
            return Effect(outcome="took_effect", detail=detail, asked=asked_s, unit="s")
        said = any(
            event.about in ("error", "no_state", "launch_failed")
            for _, event in site.history.of(AutoscalerLogged, since_s=site.injected_s)
        )
        if not said:
            return Effect(outcome="unknown", detail=f"{harmed} calls failed, but the autoscaler has not said so")
        detail = f"{harmed} calls failed, and the autoscaler said so"
        return Effect(outcome="took_effect", detail=detail, measured=float(harmed))
