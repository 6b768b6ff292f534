"""Gives Ray notice that a node will be preempted, as a spot market would.

    python -m chaos.cloud.drain_notice GCS_ADDRESS

Loads Ray's client and connects, which takes a while, and then reads `INSTANCE NOTICE_S` from standard input. Says
`accepted`, or ends with status 1 and says why, where the GCS does not know the instance or refuses; ends without a word
where there is no input.
"""

from __future__ import annotations

import sys
import time

from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import DrainNodeReason, GetClusterStatusReply

_ANSWER_LIMIT_S = 4.0


def main(address: str) -> None:
    """Sends the notice."""
    client = GcsClient(address=address)
    if not (line := sys.stdin.readline()):
        return
    instance, asked_s = line.split()
    notice_s = float(asked_s)
    reply = GetClusterStatusReply()
    reply.ParseFromString(client.get_cluster_status(timeout_s=_ANSWER_LIMIT_S))
    nodes = [node for node in reply.cluster_resource_state.node_states if node.instance_id == instance]
    if not nodes:
        raise SystemExit(f"the GCS knows no node of instance {instance}")
    deadline_ms = int((time.time() + notice_s) * 1000)
    accepted, why_not = client.drain_node(
        nodes[-1].node_id.hex(),
        int(DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")),
        f"raychaos preempts it in {notice_s:g} s",
        deadline_ms,
    )
    if not accepted:
        raise SystemExit(f"the raylet refused: {why_not}")
    print("accepted", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
