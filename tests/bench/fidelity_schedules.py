"""The schedules that the twin is held against real clusters by: random, and the same for the same seed and number."""

from __future__ import annotations

import random
from collections.abc import Callable

import faults
import workloads
from chaos.commands import TWIN, cluster_class
from chaos.errors import ChaosError
from chaos.spec import Catalogue, RunSpec, missing_on, parse
from chaos.yaml_text import dump

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
MAX_WORKERS = 3
_FAULTS = (0, 1, 1, 2, 2, 3)
_LATEST_S = 25.0
_LATEST_LAUNCH_S = 8.0  # most launches are asked for in the load's first seconds
_TRIES = 100

Fields = dict[str, object]


def _seconds(rng: random.Random, least: float, most: float) -> float:
    return round(rng.uniform(least, most), 1)


def _bursts(rng: random.Random) -> Fields:
    stages: list[Fields] = []
    for place in range(rng.randint(1, 3)):
        if place and rng.random() < 0.3:
            stages.append({"tasks": 0, "pause_s": _seconds(rng, 3, 12)})
        tasks = rng.randint(1, MAX_WORKERS + 1)
        stages.append({"tasks": tasks, "batches": tasks * rng.randint(4, 12)})
    return {"name": "task_bursts", "stages": stages}


def _inference(rng: random.Random) -> Fields:
    return {"name": "batch_inference", "rows": 32 * rng.randint(20, 60), "max_actors": rng.randint(1, MAX_WORKERS)}


def _service(rng: random.Random) -> Fields:
    return {"name": "actor_service", "requests": rng.randint(20, 60), "clients": rng.randint(1, MAX_WORKERS)}


_WORKLOADS: tuple[Callable[[random.Random], Fields], ...] = (_bursts, _bursts, _inference, _service)
# Each fault by what makes its own fields; those in the second table last.
_AT_ONCE: dict[str, Callable[[random.Random], Fields]] = {
    "kill_node": lambda _: {},
    "stop_node": lambda _: {},
    "restart_node": lambda _: {},
}
_LASTING: dict[str, Callable[[random.Random], Fields]] = {
    "pause_node": lambda _: {},
    "preempt_node": lambda _: {},
    "delay_launch": lambda rng: {"delay_s": _seconds(rng, 1, 8)},
    "fail_launch": lambda rng: {"count": rng.randint(1, 4)},
    "partial_launch": lambda _: {},
    "slow_join": lambda rng: {"delay_s": _seconds(rng, 2, 10)},
    "lose_launch_reply": lambda _: {},
    "duplicate_launch": lambda _: {},
    "fail_terminate": lambda _: {},
    "delay_terminate": lambda rng: {"delay_s": _seconds(rng, 1, 5)},
    "omit_from_listing": lambda _: {},
    "stale_listing": lambda _: {},
    "cloud_outage": lambda _: {},
    "change_limits": lambda rng: {"max_workers": rng.randint(1, MAX_WORKERS)},
    "change_idle_timeout": lambda rng: {"idle_timeout_s": _seconds(rng, 2, 10)},
}


def _injection(rng: random.Random) -> Fields:
    name = rng.choice([*_AT_ONCE, *_LASTING])
    own = (_AT_ONCE | _LASTING)[name](rng)
    latest_s = _LATEST_LAUNCH_S if faults.ALL[name].acts_on == "launches" else _LATEST_S
    frame: Fields = {"fault": name, "at_s": _seconds(rng, 0, latest_s), "may_miss": True}
    if name in _LASTING:
        frame["duration_s"] = _seconds(rng, 2, 12)
    if faults.ALL[name].acts_on == "nodes":
        frame["target"] = rng.choice(["oldest", "newest"])
    return frame | own


def _drawn(rng: random.Random, name: str, seed: int, kind: str) -> RunSpec:
    injections = [_injection(rng) for _ in range(rng.choice(_FAULTS))]
    data: Fields = {
        "name": name,
        "seed": seed,
        "cluster": {"kind": kind, "max_workers": MAX_WORKERS},
        "workload": rng.choice(_WORKLOADS)(rng),
        "schedule": injections,
        "deadline_s": 150,
    }
    return parse(dump(data), KNOWN, name=name)


def spec_of(seed: int, number: int, *, kind: str) -> RunSpec:
    """One random run for a kind of cluster, of at most three faults that this kind and the twin can both do.

    Targets are `oldest` and `newest`: by launch ordinal, so that the same node is meant on both.
    """
    rng = random.Random(f"fidelity/{seed}/{number}")
    for _ in range(_TRIES):
        try:
            drawn = _drawn(rng, f"fidelity-{seed}-{number}", seed * 1000 + number, kind)
        except ChaosError:
            continue  # two that cannot be meant together, such as an injection after the deadline
        twin = drawn.model_copy(update={"cluster": drawn.cluster.model_copy(update={"kind": TWIN})})
        if not missing_on(drawn, cluster_class(kind)) and not missing_on(twin, cluster_class(TWIN)):
            return drawn
    raise AssertionError(f"no schedule in {_TRIES} draws that both {kind} and {TWIN} can do")
