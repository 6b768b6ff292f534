"""A process that fills a file system with a file without a name, until it is ended. Standard library only.

python -m chaos.cloud.disk_filler WHAT_FOR PERCENT DIRECTORY
"""

from __future__ import annotations

import os
import sys
import time

_POLL_S = 0.5


def main(arguments: list[str]) -> None:
    """Allocates real blocks, then waits; ends when whoever started it does."""
    starter = os.getppid()
    _, percent, directory = arguments
    there = os.statvfs(directory)
    used = there.f_blocks - there.f_bfree
    missing = int(there.f_blocks * float(percent) / 100) - used
    file = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    if missing > 0:
        os.posix_fallocate(file, 0, missing * there.f_frsize)
    # In a container the starter is outside and shows as 0; there the container's end is this process's too.
    while os.getppid() == starter:
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main(sys.argv[1:])
