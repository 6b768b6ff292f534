"""Nodes told of their end: once, by the signal to what keeps them up or by the GCS."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from chaos.cloud import notices
from chaos.cloud.command import Ended
from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cloud.instances import Instance
from chaos.cloud.marks import command_of
from chaos.cloud.notices import Notices
from chaos.cluster import NodeProcess
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InjectionError
from chaos.harm import EndingNode

LIMIT_S = 10.0
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
        self.ran: list[tuple[str, ...]] = []
        self.environment: Mapping[str, str] = {}
        self.status = 0
        self.notices = Notices(self.directory, self.look)

    async def look(self, instance: Instance) -> Sequence[NodeProcess]:
        return [NodeProcess(pid=pid, started_ticks=1, role="", title="") for pid in self.pids]

    async def run(self, *command: str, limit_s: float, environment: Mapping[str, str]) -> Ended:
        self.ran.append(command)
        self.environment = environment
        return Ended(self.status, "", "the GCS knows no node of instance i-00001\n")


@pytest.fixture
def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Post:
    post = Post(tmp_path)
    monkeypatch.setattr(notices, "run_to_end", post.run)
    return post


async def test_the_gcs_is_told_once_and_with_the_clusters_token(post: Post) -> None:
    await post.notices.obey(NODE, [], addresses={})
    assert not post.ran
    await post.notices.obey(NODE, [DRAIN], addresses={})
    await post.notices.obey(NODE, [DRAIN], addresses={})
    ((*_, module, gcs, instance, notice),) = post.ran
    assert (module, gcs, instance, notice) == ("chaos.cloud.drain_notice", "127.0.0.1:6379", "i-00001", "5.0")
    assert post.environment["RAY_AUTH_TOKEN_PATH"] == str(post.directory.ray_token)
    post.notices.started(NODE.handle)
    await post.notices.obey(NODE, [DRAIN], addresses={})
    assert len(post.ran) == 2


async def test_a_notice_that_was_refused_is_an_error(post: Post) -> None:
    post.status = 1
    with pytest.raises(InjectionError, match="the drain notice for w1 failed: the GCS knows no node"):
        await post.notices.obey(NODE, [DRAIN], addresses={})


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
