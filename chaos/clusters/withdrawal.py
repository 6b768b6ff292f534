"""A process that withdraws what stands requested of a cluster's autoscaler, whoever asked for it.

Ray's GCS keeps the last `request_resources` until another replaces it. A driver that is killed leaves it behind.

    python -m chaos.clusters.withdrawal GCS_ADDRESS v2|v1
"""

from __future__ import annotations

import sys
from typing import Any

from ray._private.ray_constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray._raylet import GcsClient

_ANSWER_LIMIT_S = 10.0


def withdraw(client: Any, autoscaler: str) -> None:
    """Requests nothing, as `ray.autoscaler.sdk.request_resources(bundles=[])`. Raises what the GCS client raises."""
    if autoscaler == "v2":
        client.request_cluster_resource_constraint([], [], [], timeout_s=_ANSWER_LIMIT_S)
    else:
        client.internal_kv_put(AUTOSCALER_RESOURCE_REQUEST_CHANNEL, b"[]", True, None, timeout=_ANSWER_LIMIT_S)


if __name__ == "__main__":
    withdraw(GcsClient(address=sys.argv[1]), sys.argv[2])
