"""The machine had room: what was measured is Ray, not the machine."""

from __future__ import annotations

import math

from chaos.checker import Verdict
from chaos.checkers.facts import Facts
from chaos.checkers.property import Property
from chaos.events import HostSampled
from chaos.history import Record

MEMORY_FLOOR_MB = 256.0
DISK_FLOOR_MB = 512.0
NORMAL_SHARE = 0.5
NOISE_SHARE = 0.25
LAG_S = 1.0
LATE_SHARE = 0.1


def samples(facts: Facts) -> list[tuple[Record, HostSampled]]:
    """The machine's samples while the job ran."""
    from_s = float("inf") if facts.load_from_s is None else facts.load_from_s
    to_s = float("inf") if facts.load_to_s is None else facts.load_to_s
    return [(r, e) for r, e in facts.history.of(HostSampled, since_s=from_s) if r.t_s <= to_s]


def busy_share(facts: Facts) -> float:
    """The share of the samples in which the CPU was busy to the limit; 0 without samples."""
    found = samples(facts)
    return sum(e.cpu_busy >= facts.bounds.busy_limit for _, e in found) / len(found) if found else 0.0


class HostNotStarved(Property):
    """The machine was not busy to its limit for most of the workload, nor nearly out of memory or disk.

    Assumes that host samples come at equal intervals. It never fails: a starved machine is no fault of Ray's, it only
    makes every time measured on it meaningless. Busy for less than half of the time is normal work, and so is what the
    baseline was: bounds taken from an equally busy run hold. A share of n samples is known to within 1/√n (the widest
    95 % interval of a proportion, normal approximation): only what lies beyond that is more.
    """

    name = "host_not_starved"

    def judge(self, facts: Facts) -> Verdict:
        """Inconclusive when the machine was starved, or not watched."""
        if facts.load_from_s is None:
            return self.verdict("inconclusive", "the job never began")
        found = samples(facts)
        if not found:
            return self.verdict("inconclusive", "the machine was not sampled while the job ran")
        busy = [r for r, e in found if e.cpu_busy >= facts.bounds.busy_limit]
        share = busy_share(facts)
        normal = NORMAL_SHARE
        if facts.baseline is not None:
            normal = max(normal, facts.baseline.busy_share + NOISE_SHARE)
        bound = min(1.0, normal + 1 / math.sqrt(len(found)))
        record, least = min(found, key=lambda pair: pair[1].memory_free_mb)
        if least.memory_free_mb < MEMORY_FLOOR_MB:
            return self.verdict(
                "inconclusive",
                f"only {least.memory_free_mb:.0f} MiB of memory were free: the machine, not Ray, was measured",
                [record],
                measured=least.memory_free_mb,
                bound=MEMORY_FLOOR_MB,
                unit="MiB free",
            )
        record, least = min(found, key=lambda pair: pair[1].disk_free_mb)
        if least.disk_free_mb < DISK_FLOOR_MB:
            return self.verdict(
                "inconclusive",
                f"only {least.disk_free_mb:.0f} MiB of disk were free: the machine, not Ray, was measured",
                [record],
                measured=least.disk_free_mb,
                bound=DISK_FLOOR_MB,
                unit="MiB free",
            )
        late = [r for r, e in found if e.lag_s >= LAG_S]
        if len(late) / len(found) > LATE_SHARE:
            return self.verdict(
                "inconclusive",
                f"the observer itself was {LAG_S:g} s late or more for {len(late)} of {len(found)} samples: "
                "the machine, not Ray, was measured; free some cores",
                late,
                measured=len(late) / len(found),
                bound=LATE_SHARE,
                unit="share of samples",
            )
        told = f"CPU at {facts.bounds.busy_limit:.0%} or more in {share:.0%} of {len(found)} samples"
        if share > bound:
            return self.verdict(
                "inconclusive",
                f"{told}: the machine, not Ray, was measured; free some cores or use a smaller workload",
                busy,
                measured=share,
                bound=bound,
                unit="share of samples",
            )
        return self.verdict(
            "pass", told, [found[0][0], found[-1][0]], measured=share, bound=bound, unit="share of samples"
        )
