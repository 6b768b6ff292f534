"""Nodes told of their end: once, by the signal to what keeps them up or by the GCS."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from chaos.cloud import notices
from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cloud.instances import Instance
from chaos.cloud.marks import command_of
from chaos.cloud.notices import Notices
from chaos.cluster import NodeProcess
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InjectionError
from chaos.harm import EndingNode

LIMIT_S = 10.0
STEP_S = 0.02
NODE = Instance(instance="i-00001", node="w1", node_type="gpu", state="running", handle="h1")
DRAIN = EndingNode(told_by="drain_notice", notice_s=5.0)


class Post:
    """A node's processes, and what would have been run to tell the GCS."""

    def __init__(self, root: Path) -> None:
        self.directory = CloudDirectory(root)
        config = CloudConfig(cluster="c", mark="c#1", driver="process", spec=ClusterSpec())
        self.directory.create(config, token="t", ray_token="r")
        self.directory.address.write_text(json.dumps({"gcs": "127.0.0.1:6379"}))
        self.pids: list[int] = []
        self.notices = Notices(self.directory, self.look)

    async def look(self, instance: Instance) -> Sequence[NodeProcess]:
        return [NodeProcess(pid=pid, started_ticks=1, role="", title="") for pid in self.pids]

    @property
    def told(self) -> list[str]:
        """What was asked of the GCS, and with which token."""
        path = self.directory.root / "told"
        return path.read_text().splitlines() if path.exists() else []


# In place of the program that has Ray's client: it says in a file that it is ready, and then what it read.
WRITER = """
import os, pathlib, sys
root = pathlib.Path(sys.argv[1])
(root / f"ready-{os.getpid()}").touch()
line = sys.stdin.readline()
if "i-00009" in line:
    sys.exit("the GCS knows no node of instance i-00009")
if line:
    with (root / "told").open("a") as file:
        file.write(sys.argv[2] + " " + line.strip() + " " + os.environ["RAY_AUTH_TOKEN_PATH"] + "\\n")
    print("accepted", flush=True)
    sys.stdin.read()
"""


@pytest_asyncio.fixture
async def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Post]:
    monkeypatch.setattr(notices, "_WRITER", (sys.executable, "-c", WRITER, str(tmp_path)))
    post = Post(tmp_path)
    yield post
    await post.notices.close()


async def test_the_gcs_is_told_once_and_with_the_clusters_token(post: Post) -> None:
    await post.notices.obey(NODE, [], addresses={})
    assert not post.told
    await post.notices.obey(NODE, [DRAIN], addresses={})
    await post.notices.obey(NODE, [DRAIN], addresses={})
    assert post.told == [f"127.0.0.1:6379 i-00001 5.0 {post.directory.ray_token}"]
    post.notices.started(NODE.handle)
    await post.notices.obey(NODE, [DRAIN], addresses={})
    assert len(post.told) == 2


async def test_a_notice_that_was_prepared_is_sent_by_a_process_that_waits(post: Post) -> None:
    def ready() -> list[Path]:
        return sorted(post.directory.root.glob("ready-*"))

    async def until_ready(count: int) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while len(ready()) < count:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(STEP_S)

    await post.notices.prepare()
    await post.notices.prepare()
    await until_ready(1)
    waiting = ready()
    await post.notices.obey(NODE, [DRAIN], addresses={})
    assert len(post.told) == 1
    await until_ready(2)  # the next one has its own
    assert len(ready()) == 2
    assert waiting[0] in ready()


async def test_a_notice_that_was_refused_is_an_error(post: Post) -> None:
    unknown = NODE.model_copy(update={"instance": "i-00009"})
    with pytest.raises(InjectionError, match="the drain notice for w1 failed: the GCS knows no node"):
        await post.notices.obey(unknown, [DRAIN], addresses={})


def spawned(*words: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *words])
    # The kernel shows the words of a program a moment after it has begun to run it.
    deadline_s = time.monotonic() + LIMIT_S
    while not command_of(process.pid):
        assert time.monotonic() < deadline_s
    return process


async def test_sigterm_goes_to_what_keeps_the_node_up(post: Post) -> None:
    start, other = spawned("start", "--block"), spawned("raylet")
    try:
        post.pids = [start.pid, other.pid]
        await post.notices.obey(NODE, [EndingNode(told_by="sigterm", notice_s=5.0)], addresses={})
        assert start.wait(LIMIT_S) == -signal.SIGTERM
        assert other.poll() is None
    finally:
        for process in (start, other):
            process.kill()
            process.wait(LIMIT_S)


async def test_a_node_that_nothing_keeps_up_has_ended(post: Post) -> None:
    with pytest.raises(InjectionError, match="w1 had ended by itself"):
        await post.notices.obey(NODE, [EndingNode(told_by="sigterm", notice_s=5.0)], addresses={})
