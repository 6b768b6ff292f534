"""What many live tests share, so that it is started and measured once: a small cluster, and jobs whose fault-free runs
are the rulers of other runs of that kind of job on nodes of that shape.
"""

from __future__ import annotations

from chaos.spec import RunSpec
from tests.live.lab import Lab

NODES = """max_workers: 2, node_types: {
  gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2, disk_limit_mb: 64, own_clock: true}}"""
# Each run waits until its nodes have ended for want of work.
PAIR = f"{NODES}, idle_timeout_s: 3"
BURST = "{name: task_bursts, stages: [{tasks: 2, batches: 16}]}"
INFERENCE = "{name: batch_inference, rows: 320, max_actors: 2, device_ms_per_batch: 500}"
REQUESTS = 24
SERVICE = f"{{name: actor_service, requests: {REQUESTS}, clients: 2, max_actors: 2, delivery: at_least_once}}"


def ruler(lab: Lab, kind: str, job: str) -> RunSpec:
    """A fault-free run of a job on a pair."""
    return lab.spec(f"cluster: {{{PAIR}}}\nworkload: {job}\ndeadline_s: 120\n", kind)
