"""Ray's own RPC chaos on nodes: the environment a node starts with, and what its raylet really carries.

Ray reads it once, as a process starts; so it is on a node from the node's start to its end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from chaos.cloud.marks import command_of, environment_of, marked
from chaos.cloud.ray_start import INSTANCE_VARIABLE
from chaos.harm import RpcFault

FAILURE_VARIABLE = "RAY_testing_rpc_failure"
DELAY_VARIABLE = "RAY_testing_asio_delay_us"
_ANY_NUMBER = -1
_US_PER_MS = 1000


def environment_for(faults: Iterable[RpcFault]) -> dict[str, str]:
    """What makes Ray do these; of several on one method, the worst. Empty for none."""
    failures: dict[str, dict[str, int]] = {}
    delays: dict[str, tuple[int, int]] = {}
    for fault in faults:
        for method in fault.methods:
            if fault.request_failure_percent or fault.response_failure_percent:
                known = failures.get(method, {})
                failures[method] = {
                    "num_failures": _ANY_NUMBER,
                    "req_failure_prob": max(fault.request_failure_percent, known.get("req_failure_prob", 0)),
                    "resp_failure_prob": max(fault.response_failure_percent, known.get("resp_failure_prob", 0)),
                }
            if fault.max_delay_ms:
                least, most = fault.min_delay_ms * _US_PER_MS, fault.max_delay_ms * _US_PER_MS
                delays[method] = max(delays.get(method, (0, 0)), (least, most), key=lambda span: span[1])
    found = {}
    if failures:
        found[FAILURE_VARIABLE] = json.dumps(failures, separators=(",", ":"))
    if delays:
        found[DELAY_VARIABLE] = ",".join(f"{method}={least}:{most}" for method, (least, most) in delays.items())
    return found


def carried(mark: str) -> dict[str, dict[str, str]]:
    """What RPC chaos the raylets of a cluster were started with, by instance, as the kernel says."""
    found = {}
    for pid in marked(mark):
        if any(word.endswith("/raylet") for word in command_of(pid)[:1]):
            environment = environment_of(pid)
            chaos = {name: environment[name] for name in (FAILURE_VARIABLE, DELAY_VARIABLE) if environment.get(name)}
            found[environment.get(INSTANCE_VARIABLE, "")] = chaos
    return found
