"""A process that holds memory, every page of it touched, until it is ended. Standard library only: it stays small.

python -m chaos.cloud.ballast WHAT_FOR MEGABYTES
"""

from __future__ import annotations

import os
import sys
import time

_CHUNK_MB = 8
_POLL_S = 0.5


def main(arguments: list[str]) -> None:
    """Takes the memory, then waits; ends when whoever started it does."""
    starter = os.getppid()
    left_mb = round(float(arguments[1]))
    held: list[bytes] = []
    while left_mb > 0:
        held.append(b"\x01" * (min(_CHUNK_MB, left_mb) * 2**20))
        left_mb -= _CHUNK_MB
    # In a container the starter is outside and shows as 0; there the container's end is this process's too.
    while os.getppid() == starter:
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main(sys.argv[1:])
