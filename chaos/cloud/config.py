"""What a Cloud is told when it starts, and where it keeps things."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from chaos.cluster_spec import ClusterSpec
from chaos.value import Value

TOKEN_HEADER = "Authorization"
CONTAINER_ROOT = "/raychaos"
# Where a container spills objects whose node type has a disk of limited size.
SPILL_DIRECTORY = "/raychaos-spill"


def redis_password(ray_token: str) -> str:
    """The password of a cluster's Redis; `ps` shows it, an argument of `ray start`, and it does not tell the token."""
    return hashlib.sha256(f"redis {ray_token}".encode()).hexdigest()


class CloudConfig(Value):
    """One Cloud serves one cluster.

    `mark` names the cluster in the environment of every process it starts. `subnet` holds the first three parts of
    the loopback addresses of a `local` cluster. `ray_temp` is the parent of the nodes' Ray directories. Without a
    `first_lease_s` the cluster is kept until told to end; with one, its owner must renew the lease in time.
    """

    cluster: str
    mark: str
    driver: Literal["process", "docker"]
    spec: ClusterSpec
    subnet: str = "127.0.0"
    ray_temp: str = "/tmp/ray"
    listen_host: str = "127.0.0.1"
    listen_port: int = 0
    first_lease_s: float | None = Field(default=None, gt=0.0)
    orphan_grace_s: float = Field(default=10.0, gt=0.0)
    python_path: str = ""


class CloudDirectory:
    """The files of one cluster: configuration, token, the Cloud's state, nodes' logs, runs' shared data."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def config(self) -> Path:
        """The CloudConfig, as JSON."""
        return self.root / "cluster.json"

    @property
    def token(self) -> Path:
        """The Cloud's bearer token, readable by its owner only."""
        return self.root / "secrets" / "token"

    @property
    def ray_token(self) -> Path:
        """Ray's authentication token, where it is on."""
        return self.root / "secrets" / "ray-token"

    @property
    def redis(self) -> Path:
        """The configuration of the Redis server a GCS may keep its knowledge in, with its password."""
        return self.root / "secrets" / "redis.conf"

    @property
    def state(self) -> Path:
        """What the Cloud needs to go on after its own restart."""
        return self.root / "cloud"

    @property
    def address(self) -> Path:
        """Where the Cloud listens and which process it is, as JSON."""
        return self.state / "address.json"

    @property
    def events(self) -> Path:
        """The node lifecycle events, JSON lines."""
        return self.state / "events.jsonl"

    @property
    def ports(self) -> Path:
        """Where the head's servers listen, by name, as JSON."""
        return self.state / "ports.json"

    @property
    def file_limits(self) -> Path:
        """The usual limits of processes whose limits are lowered, as JSON."""
        return self.state / "file-limits.json"

    @property
    def sessions(self) -> Path:
        """The sessions of process nodes ever started: a line `INSTANCE PID:TICKS` each."""
        return self.state / "sessions"

    def gcs_address(self) -> str:
        """The GCS as the nodes reach it, as the Cloud announced it."""
        return str(json.loads(self.address.read_text())["gcs"])

    def session_instances(self) -> dict[str, str]:
        """Instances by session, `PID:TICKS`; empty where nodes are no processes."""
        lines = self.sessions.read_text().splitlines() if self.sessions.exists() else []
        return {session: instance for instance, _, session in (line.partition(" ") for line in lines)}

    @property
    def nodes(self) -> Path:
        """One directory of logs for each node, named by instance."""
        return self.root / "nodes"

    @property
    def data(self) -> Path:
        """What workloads share between nodes, one directory a run."""
        return self.root / "data"

    def create(self, config: CloudConfig, *, token: str, ray_token: str | None) -> None:
        """Makes the directory tree with its secrets and configuration."""
        for directory in (self.root, self.state, self.nodes, self.data, self.token.parent):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_secret(self.token, token)
        if ray_token is not None:
            write_secret(self.ray_token, ray_token)
            # It outlives the head; what it is told, it also writes down, and so outlives its own crash.
            password = redis_password(ray_token)
            write_secret(self.redis, f'requirepass {password}\nsave ""\nappendonly yes\ndir /tmp\nbind *\nport 6379\n')
        write_durably(self.config, config.model_dump_json(indent=1))

    def load_config(self) -> CloudConfig:
        """The configuration this directory was made with."""
        return CloudConfig.model_validate_json(self.config.read_text())


def write_secret(path: Path, text: str) -> None:
    """Writes a file only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def write_durably(path: Path, text: str) -> None:
    """Replaces a file's content so that a crash leaves the old or the new, on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def dump_json(data: object) -> str:
    """Compact JSON."""
    return json.dumps(data, separators=(",", ":"))
