"""`python -m tests.bench.fidelity`: random schedules on a real cluster and on the twin, and how far the two agree."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from chaos.campaign import Campaign
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS, TWIN
from chaos.comparison import Comparison, compare
from chaos.errors import ChaosError, ExceptionGroup
from chaos.history import History
from chaos.installed import versions
from chaos.report.comparison import parting_words
from chaos.report.comparison_picture import draw_comparison
from chaos.report.table import table
from chaos.sim.latency import Latencies
from chaos.sim.loop import run_in_virtual_time
from chaos.spec import RunSpec
from chaos.store import create
from chaos.twin_commands import calibrate_from, latencies_from
from tests.bench.fidelity_schedules import spec_of
from tests.live.lab import Silence

CALIBRATION_SEED_OFFSET = 1_000_000
OTHER_DRAWS_OFFSET = 2_000_000


def kept(into: Path, spec: RunSpec) -> Path:
    """Where the finished run of a specification on a real cluster lies, or will."""
    return into / spec.cluster.kind / f"{spec.name}-{spec.schedule.hash}"


async def run_missing(specs: list[RunSpec], into: Path, *, name: str) -> None:
    """Runs on one warm cluster what has not been run; each finished run is kept at once.

    A cluster that failed a run is given up for a fresh one, and the run is tried once more.
    """
    cluster: CloudCluster | None = None
    try:
        for spec in specs:
            for last in (False, True):
                if kept(into, spec).is_dir():
                    break
                try:
                    if cluster is None:
                        cluster = CLUSTERS[spec.cluster.kind](name, spec.cluster)
                        await cluster.start()
                    await _run_one(spec, cluster, into)
                except (ChaosError, ExceptionGroup) as error:
                    print(f"{spec.name}: {error!r}", flush=True)
                    if cluster is not None:
                        await cluster.stop()
                        cluster = None
                    if last:
                        raise
    finally:
        if cluster is not None:
            await cluster.stop()


async def _run_one(spec: RunSpec, cluster: CloudCluster, into: Path) -> None:
    directory = create(into / "unfinished", spec)
    campaign = Campaign(cluster, store=into / "unfinished", versions=versions(), view=Silence)
    history = await campaign.run(spec, directory, baseline=None)
    kept(into, spec).parent.mkdir(parents=True, exist_ok=True)
    directory.path.rename(kept(into, spec))
    print(f"{spec.name}: {history.end_s:.0f} s", flush=True)


def real_history(into: Path, spec: RunSpec) -> History | None:
    """What was recorded on the real cluster; None where it has not been run."""
    path = kept(into, spec)
    return History.load(path / "history.jsonl") if path.is_dir() else None


# -- the twin -------------------------------------------------------------------------------------------------


def twin_history(spec: RunSpec, latencies: Latencies, store: Path, *, seed: int) -> History:
    """The same specification on the twin, in a moment; it is run anew each time, so that it is always today's model."""
    from chaos.clusters.sim import twin_of

    changes = {"kind": TWIN, "latencies": latencies}
    wanted = spec.model_copy(update={"cluster": spec.cluster.model_copy(update=changes)})

    async def main() -> History:
        cluster = twin_of(spec.name, wanted.cluster, seed=seed)
        await cluster.start()
        try:
            campaign = Campaign(cluster, store=store, versions=versions(), view=Silence)
            return await campaign.run(wanted, create(store, wanted), baseline=None)
        finally:
            await cluster.stop()

    return run_in_virtual_time(main)


def calibrated(fitting: list[RunSpec], into: Path, *, name: str) -> Latencies:
    """The twin's latencies, fitted to those of the runs that there are."""
    path = into / f"calibration-{name}.yaml"
    runs = [str(kept(into, spec)) for spec in fitting if kept(into, spec).is_dir()]
    print(f"\n{calibrate_from(runs, store=into, into=path)} (from {len(runs)} runs)")
    return latencies_from(path)


@dataclass(frozen=True)
class Pair:
    """One schedule: the real cluster against the twin, and the twin against itself with other draws of chance."""

    spec: RunSpec
    with_twin: Comparison
    of_twins: Comparison


def compared(specs: list[RunSpec], fitting: list[RunSpec], into: Path) -> list[Pair]:
    """Each schedule that was run on the real cluster, against the twin; the pictures lie with the real runs.

    The twin that is compared with one half is calibrated from the other half, and from what is not compared at all: no
    run is judged by what was fitted to itself, and what makes the machine slow for a while slows both halves.
    """
    halves = (specs[0::2], specs[1::2])
    latencies = [calibrated([*fitting, *other], into, name=name)
                 for other, name in ((halves[1], "odd"), (halves[0], "even"))]  # fmt: skip
    pairs = []
    for place, spec in enumerate(specs):
        real = real_history(into, spec)
        if real is None:
            continue
        twin, other = (
            twin_history(spec, latencies[place % 2], into / TWIN, seed=seed)
            for seed in (spec.seed, spec.seed + OTHER_DRAWS_OFFSET)
        )
        pair = Pair(spec, compare(real, twin), compare(twin, other))
        draw_comparison(pair.with_twin, kept(into, spec) / "comparison.png")
        pairs.append(pair)
    return pairs


# -- the figures ----------------------------------------------------------------------------------------------


def report(pairs: list[Pair]) -> str:
    """The table of all pairs, where they part, the promised figures, and how far chance alone goes."""
    rows = [
        (
            _number(pair.spec),
            type(pair.spec.workload).name,
            ", ".join(type(injection.fault).name for injection in pair.spec.schedule.injections) or "–",
            f"{pair.with_twin.a.launches}/{pair.with_twin.b.launches}",
            f"{pair.with_twin.a.terminations}/{pair.with_twin.b.terminations}",
            f"{100 * pair.with_twin.near_share:.0f} %",
            _ratio(pair.with_twin.up_ratio),
            _ratio(pair.with_twin.down_ratio),
        )
        for pair in pairs
    ]
    header = ("", "workload", "faults", "launches", "ends", "within 1", "up", "down")
    parted = [
        f"{_number(pair.spec)}: at {parting.at_s:.1f} s: {parting_words(parting)}"
        for pair in pairs
        if (parting := pair.with_twin.parting) is not None
    ]
    agreement = figures([pair.with_twin for pair in pairs], promised=True)
    chance = figures([pair.of_twins for pair in pairs], promised=False)
    told = [*agreement, "", "the twin against itself with other draws:", *chance]
    return "\n".join([*table(header, rows, right=range(3, 8)), "", *parted, "", *told])


def figures(pairs: list[Comparison], *, promised: bool) -> list[str]:
    """How far pairs agree, beside what is promised of the twin where something is."""

    def bound(percent: int) -> str:
        return f" (promised: {percent} %)" if promised else ""

    if not pairs:
        return ["no pair was compared"]
    both = sum(pair.same_launches and pair.same_terminations for pair in pairs)
    watched_s = [max(pair.a.end_s, pair.b.end_s) for pair in pairs]
    near = sum(pair.near_share * s for pair, s in zip(pairs, watched_s, strict=True)) / sum(watched_s)
    told = [
        f"pairs: {len(pairs)}",
        f"as many launches: {_share(sum(pair.same_launches for pair in pairs), len(pairs))}; as many terminations: "
        f"{_share(sum(pair.same_terminations for pair in pairs), len(pairs))}; both: {_share(both, len(pairs))}"
        f"{bound(90)}",
        f"within one worker: {100 * near:.1f} % of the time{bound(90)}",
    ]
    up, down = [pair.up_ratio for pair in pairs], [pair.down_ratio for pair in pairs]
    for name, ratios, limit in (("up", up, bound(15)), ("down", down, bound(15)), ("either way", up + down, "")):
        off = [abs(ratio - 1.0) for ratio in ratios if ratio is not None]
        known = [ratio for ratio in ratios if ratio is not None]
        if off:
            apart = f"off by {100 * statistics.median(off):.0f} % at the median of {len(off)}{limit}"
            told.append(f"time to converge {name}: {apart}; median ratio {statistics.median(known):.2f}")
    return told


def _number(spec: RunSpec) -> str:
    return spec.name.rpartition("-")[2]


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f} %)"


def _ratio(ratio: float | None) -> str:
    return "–" if ratio is None else f"× {ratio:.2f}"


def main() -> None:
    """Runs what is missing, and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fidelity", description=__doc__)
    parser.add_argument("--cluster", choices=tuple(CLUSTERS), default="compose")
    parser.add_argument("--schedules", type=int, default=30)
    parser.add_argument("--fitted-from", type=int, default=5, help="runs that are not compared (default: 5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compare-only", action="store_true", help="start no cluster; compare what has been run")
    parser.add_argument("--into", type=Path, default=Path("runs/fidelity"))
    options = parser.parse_args()
    os.environ.update(RAYCHAOS_HOME=str((options.into / "home").resolve()), RAY_USAGE_STATS_ENABLED="0")
    fitting = [
        spec_of(options.seed + CALIBRATION_SEED_OFFSET, number, kind=options.cluster)
        for number in range(1, options.fitted_from + 1)
    ]
    wanted = [spec_of(options.seed, number, kind=options.cluster) for number in range(1, options.schedules + 1)]
    if not options.compare_only:
        asyncio.run(run_missing([*fitting, *wanted], options.into, name=f"fidelity-{options.seed}"))
    print(f"\n{report(compared(wanted, fitting, options.into))}")


if __name__ == "__main__":
    main()
