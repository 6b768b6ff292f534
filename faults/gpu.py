"""GPU faults: the device of a node fails under the workload, as broken and overcommitted GPUs do.

They are made at the workload's device boundary (`workloads.device`). Where the node has CUDA, exhausted memory, a hang
and slow work are real; a CPU, and what no program can do to a GPU that works, is stood in for by raising what torch
raises. The proof says which it was.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import Field

from chaos.cluster import FaultsDevices, UndoesEffects
from chaos.drawn import Drawn
from chaos.events import BatchCompleted, BatchFailed, BatchInvoked, WorkloadStarted
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import DeviceFault, DeviceMode

_STAND_IN = "raychaos stands in for the device"
# A batch that takes so many times as long as usual, and this much longer, hangs.
_HUNG_FACTOR = 2.0
_HUNG_S = 1.0
# How much of the asked slowness must show: the rest of a batch's time is not the device's.
_SHOWN_SHARE = 0.75


class _GpuFault(Fault):
    """The GPUs of the victims fail, in one mode, until healed."""

    needs: ClassVar[tuple[type, ...]] = (FaultsDevices, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0
    mode: ClassVar[DeviceMode]

    async def inject(self, site: Site) -> None:
        """Tells the victims' workers."""
        assert isinstance(site.cluster, FaultsDevices)
        for victim in site.victims:
            await site.cluster.fault_devices(
                victim, self._harm(), effect_id=site.effect_for(victim), lease_s=site.lease_s
            )

    def _harm(self) -> DeviceFault:
        return DeviceFault(mode=self.mode)


class _FailsBatches(_GpuFault):
    """Each batch on a victim fails."""

    words: ClassVar[str]

    async def probe(self, site: Site) -> Effect:
        """Looks for batches that failed on every victim in those words."""
        failed = [
            event
            for _, event in site.history.of(BatchFailed, since_s=site.injected_s)
            if event.node in site.victims and self.words in event.error
        ]
        waiting = [victim for victim in site.victims if victim not in {event.node for event in failed}]
        if waiting:
            return Effect(outcome="unknown", detail=f"no batch has failed so on {', '.join(waiting)}")
        fidelity = "a stand-in" if any(_STAND_IN in event.error for event in failed) else "real"
        return Effect(
            outcome="took_effect",
            detail=f"{len(failed)} batches failed ({fidelity}): {failed[-1].error}",
            measured=float(len(failed)),
            unit="batches",
        )


class GpuOutOfMemory(_FailsBatches):
    """Every batch on a victim finds the GPU's memory exhausted."""

    name: ClassVar[str] = "gpu_out_of_memory"
    summary: ClassVar[str] = "batches find the GPU's memory exhausted"
    mode: ClassVar[DeviceMode] = "out_of_memory"
    words: ClassVar[str] = "out of memory"


class GpuEccError(_FailsBatches):
    """Every batch on a victim ends in an uncorrectable memory error, as with failing HBM."""

    name: ClassVar[str] = "gpu_ecc_error"
    summary: ClassVar[str] = "batches end in an uncorrectable ECC error"
    mode: ClassVar[DeviceMode] = "ecc_error"
    words: ClassVar[str] = "uncorrectable ECC error"


class GpuLost(_FailsBatches):
    """Every call to a victim's GPU fails, until the fault is healed or the node is replaced."""

    name: ClassVar[str] = "gpu_lost"
    summary: ClassVar[str] = "a GPU falls off the bus: every call to it fails"
    mode: ClassVar[DeviceMode] = "lost"
    words: ClassVar[str] = "CUDA error: unknown error"


class GpuHang(_GpuFault):
    """A batch that reaches a victim's GPU does not end before the fault does."""

    name: ClassVar[str] = "gpu_hang"
    summary: ClassVar[str] = "work on a GPU does not end"
    mode: ClassVar[DeviceMode] = "hang"

    async def probe(self, site: Site) -> Effect:
        """Looks for a batch on every victim that has been under way for longer than batches take."""
        usual_s = _usual_s(site)
        if usual_s is None:
            return Effect(outcome="unknown", detail="no batch has been completed to compare with")
        limit_s = usual_s * _HUNG_FACTOR + _HUNG_S
        oldest_s = {victim: _under_way_s(site, victim) for victim in site.victims}
        waiting = [victim for victim, age_s in oldest_s.items() if age_s < limit_s]
        if waiting:
            return Effect(outcome="unknown", detail=f"no batch hangs on {', '.join(waiting)}", asked=limit_s, unit="s")
        return Effect(
            outcome="took_effect",
            detail=f"a batch hangs on each victim ({_fidelity(site)}), where others take {usual_s:.2g} s",
            measured=round(min(oldest_s.values()), 3),
            unit="s",
        )


class GpuSlow(_GpuFault):
    """Batches on a victim take `factor` times as long, as on a GPU that throttles or is shared."""

    name: ClassVar[str] = "gpu_slow"
    summary: ClassVar[str] = "work on a GPU takes longer"
    mode: ClassVar[DeviceMode] = "slow"

    factor: Annotated[float, Drawn(most=30.0)] = Field(ge=1.5, le=1000.0)

    async def probe(self, site: Site) -> Effect:
        """Compares the batches begun since with the usual ones."""
        usual_s = _usual_s(site)
        since = _completed(site, begun_since_s=site.injected_s)
        slow_s = {victim: _durations_s(since, victim) for victim in site.victims}
        waiting = [victim for victim, durations_s in slow_s.items() if not durations_s]
        if usual_s is None or waiting:
            return Effect(outcome="unknown", detail="no batch was completed before, or none since", asked=self.factor)
        measured = min(statistics.median(durations_s) for durations_s in slow_s.values()) / usual_s
        shows = measured >= max(1.0, self.factor * _SHOWN_SHARE)
        return Effect(
            outcome="took_effect" if shows else "no_effect",
            detail=f"batches take {measured:.2g} times as long ({_fidelity(site)})",
            asked=self.factor,
            measured=round(measured, 3),
            unit="times",
        )

    def _harm(self) -> DeviceFault:
        return DeviceFault(mode=self.mode, factor=self.factor)


def _completed(site: Site, *, begun_since_s: float = 0.0) -> list[BatchCompleted]:
    return [event for _, event in site.history.of(BatchCompleted) if event.started_s >= begun_since_s]


def _durations_s(batches: Iterable[BatchCompleted], node: str) -> list[float]:
    return [batch.ended_s - batch.started_s for batch in batches if batch.node == node]


def _usual_s(site: Site) -> float | None:
    """The median duration of the batches that were over before the injection, on any node; None: there were none."""
    usual_s = [batch.ended_s - batch.started_s for batch in _completed(site) if batch.ended_s <= site.injected_s]
    return statistics.median(usual_s) if usual_s else None


def _under_way_s(site: Site, node: str) -> float:
    """How long the oldest batch of a node that began since the injection has been under way; 0 where none is."""
    over = {event.op for _, event in site.history.of(BatchCompleted)}
    over |= {event.op for _, event in site.history.of(BatchFailed)}
    begun_s = [
        event.started_s
        for _, event in site.history.of(BatchInvoked, since_s=site.injected_s)
        if event.node == node and event.op not in over
    ]
    return site.history.end_s - min(begun_s) if begun_s else 0.0


def _fidelity(site: Site) -> str:
    started = site.history.first(WorkloadStarted)
    return "real" if started is not None and started[1].device == "cuda" else "a stand-in"
