"""Random schedules for the measure of quality: faults on nodes, launches, the cloud and the configuration.

The schedule of a place in the sequence of a seed is the same each time.
"""

from __future__ import annotations

import random

# A small type and a large one, fewer of both than of all; short timeouts, so that what waits for one ends within the
# run; little slack, because nothing in a model is slow by chance.
CLUSTER = """cluster:
  max_workers: 5
  idle_timeout_s: 4
  node_types:
    gpu: {resources: {CPU: 2, GPU: 1}, min_workers: 1, max_workers: 2}
    big: {resources: {CPU: 4, GPU: 2}, max_workers: 2}
  ray_environment:
    RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S: "20"
    RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S: "10"
    RAY_AUTOSCALER_RECONCILE_TERMINATING_STATUS_TIMEOUT_S: "6"
    RAY_AUTOSCALER_RECONCILE_RAY_STOP_REQUESTED_STATUS_TIMEOUT_S: "6"
"""
JOB = """workload:
  name: task_bursts
  stages: [{tasks: 3, batches: 40}, {tasks: 0, pause_s: 20}, {tasks: 8, batches: 64}]
deadline_s: 150
bounds: {slack_s: 3}
"""
_LONGEST_S = 45.0
# Each fault with what it is given; a tuple is a choice. Faults on single processes, on the head and on what the GCS
# shows are left out: the planted bugs are in what the autoscaler makes of nodes and the cloud.
FAULTS: dict[str, dict[str, tuple[object, ...]]] = {
    "kill_node": {"target": ("oldest", "newest")},
    "stop_node": {"target": ("oldest", "newest"), "duration_s": (3.0,)},
    "preempt_node": {"target": ("oldest", "newest"), "duration_s": (3.0, 8.0)},
    "pause_node": {"target": ("oldest", "newest"), "duration_s": (3.0, 20.0)},
    "restart_node": {"target": ("oldest", "newest")},
    "delay_launch": {"delay_s": (3.0, 12.0, 60.0), "duration_s": (4.0, 10.0)},
    "fail_launch": {"reason": ("quota_exceeded", "insufficient_capacity"), "duration_s": (4.0, 10.0)},
    "limit_capacity": {"at_most": (1, 2), "duration_s": (6.0, 12.0)},
    "partial_launch": {"duration_s": (6.0, 12.0)},
    "lose_launch_reply": {"requests": (1, 2), "duration_s": (6.0, 12.0)},
    "duplicate_launch": {"count": (1,), "duration_s": (6.0, 12.0)},
    "zombie_launch": {"count": (1, 2), "duration_s": (20.0,)},
    "slow_join": {"delay_s": (4.0, 15.0), "count": (1, 2), "duration_s": (6.0, 20.0)},
    "cloud_outage": {"duration_s": (3.0, 8.0)},
    "fail_terminate": {"duration_s": (4.0, 12.0)},
    "delay_terminate": {"delay_s": (3.0, 30.0), "duration_s": (8.0, 20.0)},
    "change_idle_timeout": {"idle_timeout_s": (2.0, 8.0), "duration_s": (6.0, 12.0)},
    "change_limits": {"max_workers": (2, 3, 4), "duration_s": (6.0, 12.0)},
    "stale_listing": {"duration_s": (2.0, 5.0, 30.0)},
    "vanish_node": {"target": ("oldest", "newest"), "duration_s": (4.0,)},
    "omit_from_listing": {"target": ("oldest", "newest"), "answers": (1, 2), "duration_s": (4.0,)},
    "change_node_types": {"new_type": ("huge",), "resources": ("{CPU: 8, GPU: 4}",), "duration_s": (6.0,)},
}


def random_schedule(seed: int, place: int) -> str:
    """The specification of the schedule of that place in the sequence of that seed: one to four faults."""
    source = random.Random(f"{seed}/{place}")
    lines = []
    for number in range(source.randint(1, 4)):
        name = source.choice(sorted(FAULTS))
        given = {key: source.choice(values) for key, values in FAULTS[name].items()}
        given |= source.choice((_at_some_time, _with_demand))(source)
        own = ", ".join(f"{key}: {value}" for key, value in given.items())
        lines.append(f"  - {{id: i{number + 1}, fault: {name}, {own}, may_miss: true}}\n")
    return specification("".join(lines))


def _at_some_time(source: random.Random) -> dict[str, object]:
    return {"at_s": round(source.uniform(0.0, _LONGEST_S), 1)}


def _with_demand(source: random.Random) -> dict[str, object]:
    """When a burst begins or ends, or soon after: then nodes come and go."""
    return {
        "on": f"{{event: workload.demand, nth: {source.randint(1, 4)}}}",
        "after_s": round(source.uniform(0.0, 6.0), 1),
    }


def specification(lines: str) -> str:
    """What the schedules are run on, with these injections."""
    return f"{CLUSTER}{JOB}schedule:\n{lines or '  []'}\n"
