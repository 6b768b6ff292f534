"""What Ray's logs on a node say of the RPC faults it was started with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from chaos.cloud.rpc_faults import DELAY_VARIABLE, FAILURE_VARIABLE
from chaos.cluster import RpcFaultsSeen

# As Ray 2.60 logs them: each failure, the setting as a process starts, and each thousandth delay.
_FAILED = re.compile(r"Inject RPC (?:request|response) failure")
_ANNOUNCED = f"{DELAY_VARIABLE} is set to"
_DELAYED = "Delaying method "
_LOGS = ("raylet.", "python-core-worker-", "worker-")


def seen_in(logs: Iterable[Path], environment: Mapping[str, str]) -> RpcFaultsSeen:
    """What shows of the RPC faults in these variables of a raylet, in the logs of its node."""
    texts = [path.read_text(errors="replace") for path in logs if path.name.startswith(_LOGS) and path.is_file()]
    return RpcFaultsSeen(
        failing=tuple(json.loads(environment.get(FAILURE_VARIABLE, "{}"))),
        delaying=tuple(item.partition("=")[0] for item in environment.get(DELAY_VARIABLE, "").split(",") if item),
        failed=sum(len(_FAILED.findall(text)) for text in texts),
        announced=any(_ANNOUNCED in text for text in texts),
        delayed=sum(text.count(_DELAYED) for text in texts),
    )
