"""Writes py-spy's view of every Python process of a cluster into a directory.

    python -m chaos.cloud.stacks DIRECTORY INTO

For containers it is run in the Cloud's, which sees the host's processes and may trace them. Prints how many it wrote.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chaos.cloud.config import CloudDirectory
from chaos.cloud.instances import StateFile
from chaos.cloud.marks import all_pids, environment_of, marked, session_of
from chaos.cloud.ray_start import INSTANCE_VARIABLE

_DUMP_LIMIT_S = 10.0
_AT_ONCE = 4


def dump(pid: int, instance: str, into: Path) -> bool:
    """Dumps one process; false where it is no Python, or gone."""
    try:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("py-spy")), "dump", "--pid", str(pid)],
            capture_output=True,
            timeout=_DUMP_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode or not done.stdout:
        return False
    (into / f"{instance}-{pid}.txt").write_bytes(done.stdout)
    return True


def dump_all(directory: CloudDirectory, into: Path) -> int:
    """Dumps every Python process of a cluster; returns how many."""
    into.mkdir(parents=True, exist_ok=True)
    owners = owners_of(directory)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return sum(pool.map(lambda pid: dump(pid, owners[pid], into), owners))


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
