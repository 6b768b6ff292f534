"""A Ray driver on a node that holds objects in the node's own store until it is ended.

    python -m chaos.cloud.store_filler WHAT_FOR PERCENT GCS_ADDRESS NODE_ADDRESS

Each object is also mapped here, so that the raylet can neither evict nor spill it. The raylet frees them all when this
process is gone, however it ended.
"""

from __future__ import annotations

import os
import sys
import time

import numpy
import ray

_PIECES = 16
_POLL_S = 0.5


def main(arguments: list[str]) -> None:
    """Fills, then waits; ends when whoever started it does."""
    starter = os.getppid()
    _, percent, gcs_address, node_address = arguments
    ray.init(address=gcs_address, _node_ip_address=node_address, log_to_driver=False)
    own = ray.get_runtime_context().get_node_id()
    capacity = next(node["Resources"]["object_store_memory"] for node in ray.nodes() if node["NodeID"] == own)
    piece = numpy.ones(int(capacity * float(percent) / 100 / _PIECES), dtype=numpy.uint8)
    references = [ray.put(piece) for _ in range(_PIECES)]
    mapped = ray.get(references)
    print(f"holds {sum(view.nbytes for view in mapped)} bytes", flush=True)
    while os.getppid() == starter:
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main(sys.argv[1:])
