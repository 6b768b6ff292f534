"""Ray nodes started bare, with `ray start` or `docker run` and nothing of raychaos around them: the yardstick."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from chaos.cloud.server import free_ports

_RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
_LIMIT_S = 120.0
_STORE = f"--object-store-memory={100 * 1024 * 1024}"
_COMMON = ["--block", "--disable-usage-stats", "--include-log-monitor=false", _STORE]
_LAZY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0"}


def alive_nodes(gcs_address: str) -> int:
    """How many nodes the GCS sees alive; 0 while it does not answer."""
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    from chaos.clusters.gcs_sampler import read

    assert GetClusterStatusReply
    try:
        sample = read(GcsClient(address=gcs_address))
    except Exception:  # noqa: BLE001 -- the client raises many kinds before the GCS is up
        return 0
    return sum(node["status"] in ("running", "idle") for node in sample["nodes"])


def until_alive(gcs_address: str, count: int) -> None:
    """Returns once that many nodes are alive."""
    deadline_s = time.monotonic() + _LIMIT_S
    while alive_nodes(gcs_address) < count:
        assert time.monotonic() < deadline_s, f"{count} nodes were not alive within {_LIMIT_S} s"
        time.sleep(0.05)


@contextlib.contextmanager
def processes(workers: int) -> Iterator[float]:
    """A head and workers as processes; yields how long they took to be alive, in seconds."""
    temp = tempfile.mkdtemp(prefix="rb", dir="/tmp")
    subnet = f"127.{60}.{secrets.randbelow(250) + 1}"
    gcs, client, metrics = free_ports(3)
    environment = {**os.environ, **_LAZY, "AUTOSCALER_METRIC_PORT": str(metrics)}
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> None:
        started.append(
            subprocess.Popen(
                [*_RAY, "start", *arguments, *_COMMON, "--dashboard-agent-listen-port=0"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
            )
        )  # fmt: skip

    began_s = time.monotonic()
    try:
        start("--head", f"--port={gcs}", f"--node-ip-address={subnet}.1", f"--temp-dir={temp}/h",
              "--include-dashboard=false", "--num-cpus=1", "--num-gpus=0",
              f"--ray-client-server-port={client}")  # fmt: skip
        until_alive(f"{subnet}.1:{gcs}", 1)
        for number in range(workers):
            start(f"--address={subnet}.1:{gcs}", f"--node-ip-address={subnet}.{number + 2}",
                  f"--temp-dir={temp}/w{number}", "--num-cpus=2", "--num-gpus=1")  # fmt: skip
        until_alive(f"{subnet}.1:{gcs}", workers + 1)
        yield time.monotonic() - began_s
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(temp, ignore_errors=True)


@contextlib.contextmanager
def containers(workers: int, image: str) -> Iterator[float]:
    """A head and workers by `docker run`; yields how long they took to be alive, in seconds."""
    network = f"rb-{secrets.token_hex(4)}"
    names: list[str] = []

    def docker(*arguments: str) -> str:
        return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def run(name: str, *arguments: str) -> None:
        names.append(f"{network}-{name}")
        flags = [item for pair in _LAZY.items() for item in ("--env", "=".join(pair))]
        docker("run", "--detach", "--init", "--shm-size=256m", f"--network={network}", f"--name={network}-{name}",
               *flags, image, "ray", "start", *_COMMON, *arguments)  # fmt: skip

    docker("network", "create", network)
    began_s = time.monotonic()
    try:
        run("head", "--head", "--port=6379", "--include-dashboard=false", "--num-cpus=1", "--num-gpus=0")
        address = docker(
            "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", f"{network}-head"
        )
        until_alive(f"{address}:6379", 1)
        for number in range(workers):
            run(f"w{number}", f"--address={address}:6379", "--num-cpus=2", "--num-gpus=1")
        until_alive(f"{address}:6379", workers + 1)
        yield time.monotonic() - began_s
    finally:
        if names:
            subprocess.run(["docker", "rm", "--force", *names], check=False, capture_output=True)
        docker("network", "rm", network)
