"""A soak: weeks of a cluster's life in virtual time, judged window by window.

Each window is a run of its own on the one cluster, with a history that is judged when it ends and kept only where
something failed; so memory and speed do not depend on how long the soak lasts. What the cluster and Ray's autoscaler
keep, they keep from window to window.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from chaos.campaign import BaselineFailed, Campaign, View
from chaos.checker import Judgement, merge
from chaos.clock import monotonic_s
from chaos.clusters.sim import SimCluster, twin_of
from chaos.errors import ChaosError, ExceptionGroup
from chaos.events import BaselineKnown, ClusterSampled
from chaos.finish import to_the_end
from chaos.history import Record
from chaos.installed import versions
from chaos.results import Results, judge, write
from chaos.schedule import Schedule
from chaos.spec import RunSpec
from chaos.store import RunDirectory
from chaos.weather import Weather

WINDOW_S = 3600.0
KEPT_AT_MOST = 20
_MEASURES = 20
_MIB = 2**20
_DAY_S = 86400.0


class SoakView(Protocol):
    """Whoever shows a soak while it goes on."""

    def show(self, state: Progress) -> None:
        """Takes in how far it has come; called often."""
        ...

    def tell(self, text: str) -> None:
        """Something that stays to be read."""
        ...

    def close(self) -> None:
        """The soak is over."""
        ...


@dataclass
class Progress:
    """How far a soak has come. Speed is virtual seconds in a second of this machine's, since the soak began."""

    for_s: float
    began_s: float = field(default_factory=time.monotonic)
    virtual_s: float = 0.0
    windows: int = 0
    failed: int = 0
    nodes: int = 0
    peak_nodes: int = 0
    process: psutil.Process = field(default_factory=psutil.Process)

    @property
    def times(self) -> float:
        """How much faster than real it goes."""
        return self.virtual_s / max(1e-9, time.monotonic() - self.began_s)

    @property
    def memory_mib(self) -> float:
        """What this process holds now."""
        return float(self.process.memory_info().rss) / _MIB


@dataclass(frozen=True)
class Measure:
    """What it cost at one moment: memory, and the CPU seconds of the last stretch for each virtual second."""

    virtual_s: float
    memory_mib: float
    cpu_us_per_virtual_s: float


@dataclass
class Soaked:
    """What came of a soak."""

    spec: RunSpec
    progress: Progress
    verdicts: dict[str, Counter[Judgement]] = field(default_factory=dict)
    failures: list[tuple[int, float, str, str]] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    interrupted: bool = False
    broke_off: str = ""

    @property
    def judgement(self) -> Judgement:
        """The worst of all windows' but for what is inconclusive in some and passed in others.

        One that broke off has not shown what it was to show.
        """
        found: list[Judgement] = [
            "fail" if counts["fail"] else "pass" if counts["pass"] else "inconclusive"
            for counts in self.verdicts.values()
        ]
        return merge([*found, "inconclusive"] if self.broke_off or not found else found)

    @property
    def text(self) -> str:
        """The verdict for people."""
        progress = self.progress
        lines = [
            f"{self.judgement.upper()} {'(interrupted) ' if self.interrupted else ''}{progress.windows} windows in "
            f"{progress.virtual_s / _DAY_S:.2f} days, {progress.times:,.0f} x real time, "
            f"{progress.memory_mib:.0f} MiB, at most {progress.peak_nodes} nodes"
        ]
        for name, counts in self.verdicts.items():
            told = ", ".join(f"{count} {judgement}" for judgement, count in sorted(counts.items()))
            lines.append(f"  {name:24} {told}")
        lines += [
            f"  ⇒ window {number}, day {day:.2f}: {told}\n    {where}" for number, day, told, where in self.failures
        ]
        lines += [f"  broke off in window {progress.windows}: {self.broke_off}"] * bool(self.broke_off)
        return "\n".join(lines)

    @property
    def json(self) -> str:
        """The verdict for machines."""
        progress = self.progress
        return json.dumps(
            {
                "judgement": self.judgement,
                "interrupted": self.interrupted,
                "broke_off": self.broke_off or None,
                "seed": self.spec.seed,
                "virtual_s": round(progress.virtual_s, 3),
                "windows": progress.windows,
                "windows_failed": progress.failed,
                "peak_nodes": progress.peak_nodes,
                "times_real": round(progress.times, 1),
                "verdicts": {name: dict(counts) for name, counts in self.verdicts.items()},
                "failures": [
                    {"window": number, "day": round(day, 4), "what": told, "run": where}
                    for number, day, told, where in self.failures
                ],
                "measures": [
                    {
                        "virtual_s": round(one.virtual_s),
                        "memory_mib": round(one.memory_mib, 1),
                        "cpu_us_per_virtual_s": round(one.cpu_us_per_virtual_s, 1),
                    }
                    for one in self.measures
                ],
            },
            indent=1,
        )


async def soak(spec: RunSpec, weather: Weather, *, for_s: float, store: Path, view: SoakView) -> Soaked:
    """A soak from its fault-free first window to its end, or until it is cancelled; the event loop is of virtual time.

    A window that cannot be brought to its end ends the soak, which is judged by those before it.

    Raises:
        ClusterError: the model cannot do it: there was no first window.
    """
    place = store / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{spec.name}-{secrets.token_hex(2)}"
    soaked = Soaked(spec, Progress(for_s))
    cluster = twin_of(spec.name, spec.cluster, seed=spec.seed)
    try:
        await cluster.start()
        soaked.progress.began_s = time.monotonic()
        await _Soak(cluster, weather, place, soaked, view).run()
    except asyncio.CancelledError:
        soaked.interrupted = True
    except (ChaosError, ExceptionGroup) as error:
        if not soaked.progress.windows:
            raise
        soaked.broke_off = f"{type(error).__name__}: {error}"
    finally:
        await to_the_end(cluster.stop())
        view.close()
    return soaked


class _Soak:
    """One soak while it goes on."""

    def __init__(self, cluster: SimCluster, weather: Weather, place: Path, soaked: Soaked, view: SoakView) -> None:
        self._cluster = cluster
        self._weather = weather
        self._place = place
        self._soaked = soaked
        self._progress = soaked.progress
        self._view = view
        self._began_s = monotonic_s()
        self._measured = (0.0, time.process_time())
        watching = _Watching(self)
        self._campaign = Campaign(
            cluster, store=place, versions=versions(), view=lambda: watching, run_id_of=lambda spec: f"soak-{spec.seed}"
        )

    async def run(self) -> None:
        """Window after window."""
        try:
            fault_free = self._weather.window(0).model_copy(update={"schedule": Schedule()})
            baseline = await self._campaign.baseline(fault_free, renew=True)
        except BaselineFailed as failed:
            self._count(failed.results, failed.directory)
            return
        while self.passed_s() < self._progress.for_s:
            await self._window(self._weather.window(self._progress.windows), baseline)

    async def _window(self, spec: RunSpec, baseline: BaselineKnown) -> None:
        directory = RunDirectory(self._place / f"window-{self._progress.windows:06d}")
        directory.logs.mkdir(parents=True)
        history = await self._campaign.run(spec, directory, baseline=baseline)
        results = judge(history)
        self._count(results, directory)
        if results.judgement == "fail" and self._progress.failed <= KEPT_AT_MOST:
            directory.spec.write_text(spec.to_yaml())
            directory.schedule.write_text(spec.schedule.to_yaml())
            write(results, directory)
        else:
            shutil.rmtree(directory.path)

    def _count(self, results: Results, directory: RunDirectory) -> None:
        soaked, progress = self._soaked, self._progress
        for verdict in results.verdicts:
            soaked.verdicts.setdefault(verdict.name, Counter())[verdict.verdict] += 1
        progress.virtual_s = self.passed_s()
        failed = [verdict for verdict in results.verdicts if verdict.verdict == "fail"]
        if failed:
            progress.failed += 1
            told = "; ".join(f"{verdict.name}: {verdict.summary}" for verdict in failed)
            day = progress.virtual_s / _DAY_S
            if len(soaked.failures) < KEPT_AT_MOST:
                soaked.failures.append((progress.windows, day, told, str(directory.path)))
            self._view.tell(f"window {progress.windows}, day {day:.2f}: {told}")
        progress.windows += 1
        self._measure()
        self._view.show(progress)

    def _measure(self) -> None:
        progress, (since_s, cpu_s) = self._progress, self._measured
        if progress.virtual_s - since_s >= progress.for_s / _MEASURES:
            spent_s = time.process_time() - cpu_s
            cost_us = 1e6 * spent_s / (progress.virtual_s - since_s)
            self._soaked.measures.append(Measure(progress.virtual_s, progress.memory_mib, cost_us))
            self._measured = (progress.virtual_s, time.process_time())

    def passed_s(self) -> float:
        """Virtual seconds since the soak began."""
        return monotonic_s() - self._began_s

    def see(self, record: Record) -> None:
        """Takes in a record of the window going on."""
        if isinstance(record.event, ClusterSampled):
            self._progress.nodes = sum(1 for node in record.event.nodes if node.node != "head")
            self._progress.peak_nodes = max(self._progress.peak_nodes, self._progress.nodes)

    def show(self) -> None:
        """Shows how far it is."""
        self._progress.virtual_s = self.passed_s()
        self._view.show(self._progress)


class _Watching(View):
    """A window seen while it goes on."""

    def __init__(self, soaking: _Soak) -> None:
        self._soaking = soaking

    def step(self, text: str) -> None:
        """Windows are too many to be told of each."""

    def show(self, record: Record) -> None:
        """Counts nodes."""
        self._soaking.see(record)

    def tick(self, now_s: float) -> None:  # noqa: ARG002 -- the soak's own time is shown
        """Time passes."""
        self._soaking.show()

    def close(self) -> None:
        """The next window follows."""
