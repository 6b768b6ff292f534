"""Tours: one run in which faults follow each other, each when the one before has been seen to; so many cost little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import faults
from chaos.commands import CLUSTERS
from chaos.results import Results
from tests.live.lab import Lab

BEGIN = "on: {progress_percent: 3}"


@dataclass(frozen=True)
class Tour:
    """A job on a cluster, long enough for all its faults, by name with parameters; the `short` job is its ruler."""

    job: str
    cluster: str
    parameters: Mapping[str, str]
    short: str = "{name: task_bursts, stages: [{tasks: 2, batches: 16}]}"

    def able(self, kind: str) -> list[str]:
        """The faults of the tour that a kind of cluster can do, in their order."""
        return [name for name in self.parameters if not faults.ALL[name].missing_capabilities(CLUSTERS[kind])]

    def schedule(self, kind: str) -> str:
        """The injections, by the faults' names; one without a trigger begins when the one before is over."""
        lines, healed = [], 0
        trigger = BEGIN
        for place, name in enumerate(self.able(kind), start=1):
            own = self.parameters[name]
            begun = "" if any(word in own for word in ("on:", "at_s:")) else f", {trigger}"
            lines.append(f"  - {{id: {name}, fault: {name}, {own}{begun}}}")
            lasts = faults.ALL[name].lasts
            healed += lasts
            after = f"{{event: fault.healed, nth: {healed}}}" if lasts else f"{{event: fault.probed, nth: {place}}}"
            trigger = f"on: {after}, after_s: 0.5"
        return "\n".join(lines)

    def spec_text(self, kind: str, *, job: str, schedule: str = "") -> str:
        """The specification, with or without faults."""
        return f"cluster: {{{self.cluster}}}\nworkload: {job}\ndeadline_s: 400\nschedule:\n{schedule or '  []'}\n"


class Guide:
    """Takes each tour once on each kind of cluster, and remembers how it went."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._taken: dict[tuple[str, str], Results] = {}

    async def take(self, name: str, tour: Tour, kind: str) -> Results:
        """How the tour went."""
        if (name, kind) not in self._taken:
            ruler = self._lab.spec(tour.spec_text(kind, job=tour.short), kind)
            spec = self._lab.spec(tour.spec_text(kind, job=tour.job, schedule=tour.schedule(kind)), kind)
            self._taken[name, kind] = await self._lab.run(spec, baseline_of=ruler)
        return self._taken[name, kind]
