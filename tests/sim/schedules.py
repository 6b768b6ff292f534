"""Random specifications for the twin: a cluster, a demand and a few faults, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping

_LASTING = {
    "delay_launch": "delay_s: {short}",
    "fail_launch": "reason: quota_exceeded, count: 2",
    "limit_capacity": "at_most: 1",
    "partial_launch": "",
    "lose_launch_reply": "requests: 1",
    "duplicate_launch": "count: 1",
    "zombie_launch": "count: 1",
    "slow_join": "delay_s: {short}, count: 1",
    "cloud_outage": "",
    "delay_terminate": "delay_s: {short}",
    "fail_terminate": "",
    "stale_listing": "",
    "omit_from_listing": "answers: 2, target: {target}",
    "vanish_node": "target: {target}",
    "pause_node": "target: {target}",
    "stop_node": "target: {target}",
    "preempt_node": "target: {target}",
    "change_limits": "max_workers: 1",
    "change_idle_timeout": "idle_timeout_s: {short}",
}
_SUDDEN = {"kill_node": "target: {target}", "restart_node": "target: {target}"}
# On KubeRay; what makes Ray fail there as elsewhere (docs/track-record.md) would hide what fails there alone.
_ON_KUBERAY = {
    **{
        name: own
        for name, own in (_LASTING | _SUDDEN).items()
        if name not in ("duplicate_launch", "stale_listing", "omit_from_listing", "vanish_node", "restart_node")
    },
    "conflict_patch": "patches: 2",
    "kill_operator": "",
}


def random_text(seed: int, *, mode: str = "", minutes: float = 2.0, provider: str = "") -> str:
    """The specification of one seed, of about so many simulated minutes, in YAML; of a provider, where one is given."""
    source = random.Random(f"schedule {seed}")
    length_s = minutes * 60.0
    most = source.randint(2, 8)
    cpu_type = f", cpu: {{resources: {{CPU: 4}}, max_workers: {most}}}" if source.random() < 0.3 else ""
    least = source.randint(0, 2) if source.random() < 0.3 else 0
    types = f"gpu: {{resources: {{CPU: 2, GPU: 1}}, min_workers: {least}, max_workers: {most}}}{cpu_type}"
    settings = [f"mode: {mode}"] * bool(mode) + [f"provider: {provider}"] * bool(provider)
    twin = f", twin: {{{', '.join(settings)}}}" if settings else ""
    menu = _ON_KUBERAY if provider == "kuberay" else _LASTING | _SUDDEN
    lines = [
        f"cluster: {{kind: sim, update_interval_s: {source.choice((1, 1, 2, 5))}, max_workers: {most}, "
        f"idle_timeout_s: {source.choice((2, 6, 15))}, node_types: {{{types}}}{twin}}}",
        f"workload: {_demand(source, length_s, most)}",
        f"seed: {seed}",
        f"deadline_s: {4 * length_s:.0f}",
        "blast_radius: {max_nodes_down: 8}",
        "schedule:",
        *(_injection(source, number, length_s, menu) for number in range(source.randint(1, 5))),
    ]
    return "\n".join(lines) + "\n"


def _demand(source: random.Random, length_s: float, most: int) -> str:
    stages: list[str] = []
    spent_s, batch_s = 0.0, source.choice((0.5, 2.0, 7.0))
    while spent_s < length_s or len(stages) < 2:
        tasks, rounds = source.randint(1, most), source.randint(1, max(1, int(length_s / batch_s / 4)))
        stages.append(f"{{tasks: {tasks}, batches: {tasks * rounds}}}")
        pause_s = round(source.uniform(1.0, length_s / 4), 3)
        stages.append(f"{{tasks: 0, pause_s: {pause_s}}}")
        spent_s += rounds * batch_s + pause_s
    return f"{{name: task_bursts, device_ms_per_batch: {batch_s * 1000:g}, stages: [{', '.join(stages)}]}}"


def _injection(source: random.Random, number: int, length_s: float, menu: Mapping[str, str]) -> str:
    name = source.choice(sorted(menu))
    short, target = round(source.uniform(1.0, 9.0), 3), source.choice(("oldest", "newest", "random"))
    own = menu[name].format(short=short, target=target)
    lasts = "" if name in _SUDDEN else f", duration_s: {source.uniform(2.0, length_s / 6):.3f}"
    own = f", {own}" if own else ""
    return (
        f"  - {{id: i{number}, fault: {name}, may_miss: true, at_s: {source.uniform(0.0, length_s):.3f}{own}{lasts}}}"
    )
