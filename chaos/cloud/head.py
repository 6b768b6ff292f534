"""The head's container: waits for the Cloud, asks it how Ray is to be started, and becomes that.

    python -m chaos.cloud.head URL DIRECTORY

So the autoscaler's configuration comes from the Cloud alone. DIRECTORY is the cluster's, with the Cloud's token.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

WAIT_LIMIT_S = 60.0
# In a head's Ray directory; where a killed head has left it, Ray refuses to start another there.
STALE_HEAD_FILE = "ray_current_cluster"
_ANSWER_LIMIT_S = 5.0
_POLL_S = 0.1


def ask(url: str, token_file: Path) -> dict[str, Any]:
    """The head's launch, as soon as the Cloud answers.

    Raises:
        TimeoutError: it did not within WAIT_LIMIT_S.
    """
    deadline_s = time.monotonic() + WAIT_LIMIT_S
    last: Exception | None = None
    while time.monotonic() < deadline_s:
        try:
            token = token_file.read_text().strip()
            request = urllib.request.Request(f"{url}/head", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, timeout=_ANSWER_LIMIT_S) as response:
                answer: dict[str, Any] = json.loads(response.read())
                return answer
        except (OSError, ValueError) as error:  # refused, no token yet, no such name yet
            last = error
            time.sleep(_POLL_S)
    raise TimeoutError(f"the Cloud at {url} did not say how to start within {WAIT_LIMIT_S:g} s: {last}")


def link_ray_directory(node_directory: Path, link: Path) -> None:
    """Makes Ray's directory lie in the cluster's, under a path short enough for Ray's sockets (107 bytes)."""
    target = node_directory / "ray"
    target.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() or link.exists():
        link.unlink()
    link.symlink_to(target)


def main(arguments: list[str]) -> None:
    """Does not return: the process becomes `ray start --block`."""
    url, root = arguments[0], Path(arguments[1])
    launch = ask(url, root / "secrets" / "token")
    for path, content in launch["files"].items():
        Path(path).write_text(content)
    link_ray_directory(root / "nodes" / "head", Path("/tmp/ray"))
    Path("/tmp/ray", STALE_HEAD_FILE).unlink(missing_ok=True)
    own_address = socket.gethostbyname(socket.gethostname())
    argv = [*launch["argv"], f"--node-ip-address={own_address}"]
    sys.stdout.flush()
    os.execvpe(argv[0], argv, {**os.environ, **launch["environment"]})


if __name__ == "__main__":
    main(sys.argv[1:])
