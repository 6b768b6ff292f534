"""Writes py-spy's view of every Python process of a cluster into a directory.

    python -m chaos.cloud.stacks DIRECTORY INTO

For containers it is run in the Cloud's, which sees the host's processes and may trace them. Prints how many it wrote.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chaos.cloud.config import CloudDirectory
from chaos.cloud.instances import StateFile
from chaos.cloud.marks import all_pids, environment_of, marked, session_of
from chaos.cloud.ray_start import INSTANCE_VARIABLE

# Of all dumps together; whoever asks for them waits a little longer than that.
ALL_LIMIT_S = 40.0
_DUMP_LIMIT_S = 10.0
_AT_ONCE = 4


def dump(pid: int, instance: str, into: Path, *, limit_s: float = _DUMP_LIMIT_S) -> bool:
    """Dumps one process; false where it is no Python, gone, or not dumped within `limit_s`."""
    if limit_s <= 0.0:
        return False
    try:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("py-spy")), "dump", "--pid", str(pid)],
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode or not done.stdout:
        return False
    (into / f"{instance}-{pid}.txt").write_bytes(done.stdout)
    return True


def dump_all(directory: CloudDirectory, into: Path) -> int:
    """Dumps the Python processes of a cluster, as many as `ALL_LIMIT_S` allows; returns how many."""
    into.mkdir(parents=True, exist_ok=True)
    deadline_s = time.monotonic() + ALL_LIMIT_S
    owners = owners_of(directory)

    def dump_one(pid: int) -> bool:
        return dump(pid, owners[pid], into, limit_s=min(_DUMP_LIMIT_S, deadline_s - time.monotonic()))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return sum(pool.map(dump_one, owners))


def owners_of(directory: CloudDirectory) -> dict[int, str]:
    """The cluster's processes, each with the instance it belongs to: by container, session, or mark."""
    state = StateFile(directory.state / "state.json").load()
    containers = {item.handle: name for name, item in state.instances.items() if ":" not in item.handle and item.handle}
    leaders = {int(text.partition(":")[0]): name for text, name in directory.session_instances().items()}
    owners: dict[int, str] = {}
    for pid in all_pids():
        owner = leaders.get(session_of(pid)) or next(
            (name for handle, name in containers.items() if handle in _cgroup_of(pid)), None
        )
        if owner is not None:
            owners[pid] = owner
    for pid in marked(directory.load_config().mark):
        owners.setdefault(pid, environment_of(pid).get(INSTANCE_VARIABLE, "unknown"))
    return owners


def _cgroup_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def main(arguments: list[str]) -> None:
    """Dumps all of them, for anyone to read and remove."""
    directory, into = CloudDirectory(Path(arguments[0])), Path(arguments[1])
    dumped = dump_all(directory, into)
    for path in (into, *into.iterdir()):
        path.chmod(0o777 if path.is_dir() else 0o666)
    print(dumped)


if __name__ == "__main__":
    main(sys.argv[1:])
