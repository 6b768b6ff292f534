"""Tours: one run in which many faults follow each other, each when the one before has been seen to; so they are cheap.

They do in lanes, side by side: those of one lane keep off the nodes of another's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import faults
from chaos.commands import CLUSTERS
from chaos.results import Results
from tests.live.lab import Lab
from tests.live.rulers import BURST, NODES, PAIR, ruler

BEGIN = "on: {progress_percent: 3}"


@dataclass(frozen=True)
class Tour:
    """A job on a cluster, long enough for all its faults, by name with parameters; its ruler is one burst on a pair.

    What is `last` comes, one fault, when all lasting ones of the lanes are over.
    """

    job: str
    cluster: str
    lanes: tuple[Mapping[str, str], ...]
    last: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All its faults."""
        return [name for lane in (*self.lanes, self.last) for name in lane]

    def able(self, kind: str) -> list[str]:
        """Those that a kind of cluster can do."""
        return [name for name in self.names if not faults.ALL[name].missing_capabilities(CLUSTERS[kind])]

    def schedule(self, kind: str) -> str:
        """The injections, by the faults' names; one without a trigger begins when the one before is over."""
        able = self.able(kind)
        lines = [line for lane in self.lanes for line in _in_turn(lane, able, BEGIN)]
        lasting = sum(faults.ALL[name].lasts for lane in self.lanes for name in lane if name in able)
        return "\n".join([*lines, *_in_turn(self.last, able, f"on: {{event: fault.healed, nth: {lasting}}}")])

    def spec_text(self, kind: str) -> str:
        """The specification, for a kind of cluster."""
        schedule = self.schedule(kind)
        return f"cluster: {{{self.cluster}}}\nworkload: {self.job}\ndeadline_s: 400\nschedule:\n{schedule}\n"


def _in_turn(lane: Mapping[str, str], able: Collection[str], trigger: str) -> Iterator[str]:
    """A lane's injections, the first of them at a trigger."""
    for name in (name for name in lane if name in able):
        own = lane[name]
        begun = "" if any(word in own for word in ("on:", "at_s:")) else f", {trigger}"
        yield f"  - {{id: {name}, fault: {name}, {own}{begun}}}"
        over = "fault.healed" if faults.ALL[name].lasts else "fault.probed"
        trigger = f"on: {{event: {over}, injection: {name}}}, after_s: 0.3"


# Two nodes more than the job wants: while a node that crashed and came back is in the GCS twice, it counts twice. The
# GCS is patient for longer than that takes: a node whose end it sees first is ended as a whole.
ROOMY = """max_workers: 4, node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 4}},
  health_check: {failure_threshold: 7}"""
# Bursts of work with pauses in which the cluster shrinks to nothing: each burst asks for launches, which a fault meets;
# after some of them a fault meets the end of nodes, in a pause that is longer by what this takes.
PAUSE_S = 4.5
LONGER_S = 4.0
# The first two meet the same launches: the one is about the Cloud, the other about what nodes say to each other.
MEETING_LAUNCHES = (
    {"delay_launch": "delay_s: 3, duration_s: 6", "delay_rpcs": "max_delay_ms: 20, duration_s: 10"},
    {"fail_launch": "reason: quota_exceeded, count: 2, duration_s: 6"},
    {"limit_capacity": "at_most: 1, duration_s: 6"},
    {"partial_launch": "duration_s: 6"},
    {"lose_launch_reply": "requests: 1, duration_s: 6"},
    {"duplicate_launch": "count: 1, duration_s: 6"},
    {"zombie_launch": "count: 1, duration_s: 12"},
    {"slow_join": "delay_s: 4, count: 1, duration_s: 6"},
    {"cloud_outage": "duration_s: 4"},
    {"fail_rpcs": "request_failure_percent: 15, duration_s: 10"},
)
# Where few of Ray's calls fail, a node has to live for a while until one does.
BATCHES = {"fail_rpcs": 12}
# By a launch fault of the burst whose nodes end.
MEETING_ENDS = {
    "delay_launch": {"delay_terminate": "delay_s: 2, duration_s: 7"},
    "fail_rpcs": {"fail_terminate": "duration_s: 8"},
}

# Each loss waits for the node that replaces the one before, and for the time that one takes. Two may join at once: what
# follows in the row takes the other end of the line, never a node that is already going.
TAKING_NODES = {
    "kill_node": f"target: oldest, {BEGIN}",
    "kill_raylet": "target: newest, on: {event: node.joined, since: kill_node}, after_s: 2",
    "preempt_node": "target: oldest, duration_s: 3, on: {event: node.joined, since: kill_raylet}, after_s: 2",
    "stop_node": "target: newest, duration_s: 3, on: {event: node.joined, since: preempt_node}, after_s: 4",
    "restart_node": "target: oldest, on: {event: node.joined, since: stop_node}, after_s: 4",
    "restart_raylet": "target: newest, on: {event: fault.probed, injection: restart_node}, after_s: 1",
}


def bursting() -> Tour:
    """Launch faults in force at the beginning of each burst, then faults that meet the end of nodes in the pauses."""
    stages: list[str] = []
    parameters: dict[str, str] = {}
    pause_s = 0.0
    for burst, meeting in enumerate(MEETING_LAUNCHES):
        # The pause before the burst is the demand of that number; nodes are gone before it ends.
        begun = f"on: {{event: workload.demand, nth: {2 * burst}}}, after_s: {pause_s - 0.5:g}" if burst else "at_s: 0"
        parameters |= {name: f"{own}, {begun}" for name, own in meeting.items()}
        ending = {name: own for met in meeting for name, own in MEETING_ENDS.get(met, {}).items()}
        begun = f"on: {{event: workload.demand, nth: {2 * burst + 2}}}"
        parameters |= {name: f"{own}, {begun}" for name, own in ending.items()}
        pause_s = PAUSE_S + LONGER_S * len(ending)
        batches = max(BATCHES.get(name, 2) for name in meeting)
        stages += [f"{{tasks: 2, batches: {batches}}}", f"{{tasks: 0, pause_s: {pause_s:g}}}"]
    return Tour(
        job=f"{{name: task_bursts, stages: [{', '.join(stages)}]}}",
        cluster=f"{NODES}, idle_timeout_s: 1",
        lanes=(parameters,),
    )


# Faults that can follow each other in one run; a new fault joins a tour, or ALONE.
TOURS = {
    "launches": bursting(),
    "nodes": Tour(
        job="{name: task_bursts, stages: [{tasks: 2, batches: 80}]}",
        cluster=PAIR,
        lanes=(
            {
                # These leave the worker alive, and what follows finds one that has begun.
                "gpu_slow": "factor: 3, target: oldest, duration_s: 7",
                "gpu_hang": "target: oldest, duration_s: 10",
                # Each of these ends the worker: the next batch waits for one that has imported torch, seconds on two
                # cores that other tours use too (7 s measured, with three busy processes beside).
                "gpu_out_of_memory": "target: oldest, duration_s: 6",
                "gpu_ecc_error": "target: oldest, duration_s: 12",
                "gpu_lost": "target: oldest, duration_s: 12",
            },
            {
                "pause_node": "target: newest, duration_s: 2",
                "pause_process": "role: worker, target: newest, duration_s: 2",
                # Whatever it runs: between two batches a node runs nothing.
                "kill_worker_process": "target: newest",
                "press_memory": "mb: 200, target: newest, duration_s: 3",
                # What fills it is a driver, which takes its time to start on a busy machine.
                "fill_object_store": "percent: 80, target: newest, duration_s: 20",
                "fill_disk": "target: newest, duration_s: 3",
                "throttle_disk": "mb_per_s: 2, target: newest, duration_s: 3",
                # The last of its lane: should the raylet want to start a worker then, it ends, and the node with it.
                "exhaust_file_descriptors": "target: newest, duration_s: 2",
            },
            {
                "pause_autoscaler": "duration_s: 3",
                "kill_autoscaler": "duration_s: 3",
                "change_idle_timeout": "idle_timeout_s: 4, duration_s: 3",
                "change_node_types": "new_type: big, resources: {CPU: 4, GPU: 2}, duration_s: 4",
            },
        ),
        last={"kill_dashboard_agent": "target: oldest"},
    ),
    "networks": Tour(
        job="{name: task_bursts, stages: [{tasks: 2, batches: 60}]}",
        cluster=PAIR,
        lanes=(
            {
                "throttle_network": "rate_mbit: 4, target: oldest, duration_s: 3",
                "delay_network": "delay_ms: 40, jitter_ms: 5, target: oldest, duration_s: 3",
                "lose_packets": "percent: 5, target: oldest, duration_s: 3",
                "corrupt_packets": "percent: 5, target: oldest, duration_s: 3",
                "reset_connections": "target: oldest, duration_s: 1",
            },
            {
                "partition_network": "peers: head, target: newest, duration_s: 2",
                "duplicate_packets": "percent: 5, target: newest, duration_s: 3",
                "reorder_packets": "percent: 5, target: newest, duration_s: 3",
                "flap_network": "down_s: 0.4, up_s: 0.6, target: newest, duration_s: 4",
                "skew_clock": "offset_s: -300, target: newest, duration_s: 3",
            },
        ),
    ),
    "losses": Tour(
        job="{name: task_bursts, stages: [{tasks: 2, batches: 82}]}",
        cluster=ROOMY,
        lanes=(TAKING_NODES,),
    ),
}


# What goes on at the same time, each on a cluster of its own: long tours that wait more than they work. Shorter runs,
# and those that start many nodes, would be measured as starved.
SIDE_BY_SIDE = (
    (("launches", "local"), ("networks", "compose")),
    (("nodes", "local"), ("nodes", "compose")),
)


class Guide:
    """Takes each tour once on each kind of cluster, of those that are wanted, and remembers how it went."""

    def __init__(self, lab: Lab, wanted: Collection[tuple[str, str]]) -> None:
        self._lab = lab
        self._wanted = wanted
        self._begun: dict[tuple[str, str], asyncio.Task[Results]] = {}

    async def take(self, name: str, kind: str) -> Results:
        """How the tour went."""
        beside = next((pair for pair in SIDE_BY_SIDE if (name, kind) in pair), ())
        for one in ((name, kind), *(each for each in beside if each in self._wanted)):
            if one not in self._begun:
                self._begun[one] = asyncio.create_task(self._take(*one))
        return await asyncio.shield(self._begun[name, kind])

    async def _take(self, name: str, kind: str) -> Results:
        spec = self._lab.spec(TOURS[name].spec_text(kind), kind)
        return await self._lab.run(spec, baseline_of=ruler(self._lab, kind, BURST))

    async def go_home(self) -> None:
        """Nobody is on a tour any more."""
        for task in self._begun.values():
            task.cancel()
        await asyncio.gather(*self._begun.values(), return_exceptions=True)
