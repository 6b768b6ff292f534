"""What a user is told when Docker does not do what was asked, and how a container's vitals are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import ConnectionError, ReadTimeout

from chaos.cloud import containers
from chaos.cluster_spec import ClusterSpec
from chaos.clusters import compose_command
from chaos.clusters.cgroups import groups_of, read_v1, read_v2
from chaos.clusters.cloud_cluster import PortTaken
from chaos.clusters.compose import ComposeCluster
from chaos.clusters.compose_command import remedy, require_compose
from chaos.errors import ClusterError

UP = ("docker", "compose", "up")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("permission denied while trying to connect to the Docker daemon socket", "join the group docker"),
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "start it"),
        ("Error response from daemon: No such image: raychaos:9", "image is missing"),
        ("something new", "something new"),
    ],
)
def test_a_failure_says_what_to_do(said: str, told: str) -> None:
    assert told in str(remedy(UP, said))


def test_a_taken_port_is_told_apart() -> None:
    said = "driver failed programming: Bind for 127.0.0.1:8400 failed: port is already allocated"
    assert isinstance(remedy(UP, said), PortTaken)


async def test_no_docker_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="no `docker` on the PATH"):
        await require_compose()


@pytest.mark.parametrize("script", ["exit 1", "echo 1.29.2"])
async def test_compose_missing_or_of_the_first_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ClusterError, match=r"Compose 2|version 2"):
        await require_compose()


async def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(ClusterError, match=r"did not end within 0\.2 s"):
        await compose_command.run("sleep", "60", limit_s=0.2)


def test_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ClusterError, match="start it, or point DOCKER_HOST"):
        containers.engine()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ConnectionError("reset by peer"),
            r"Docker engine does not answer \(reset by peer\): look whether it runs",
        ),
        (ReadTimeout("60 s"), r"does not answer \(60 s\)"),
        (APIError("500", explanation="no space left"), "the Docker engine refused: no space left"),
        (DockerException("odd"), "the Docker engine could not do it: odd"),
        (NotFound("404", explanation="no such container"), "does not know it: no such container"),
    ],
)
async def test_what_goes_wrong_with_the_engine_is_told_in_our_words(error: Exception, told: str) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(ClusterError, match=told):
        await ComposeCluster("demo", ClusterSpec(kind="compose"))._blocking(fails)


def test_what_is_not_there_is_left_to_the_caller() -> None:
    with pytest.raises(NotFound), containers.engine_errors():
        raise NotFound("404")


def test_vitals_of_cgroups_version_1(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("7:freezer:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    groups = groups_of(membership)
    freezer, cpuacct = tmp_path / "freezer/docker/abc", tmp_path / "cpuacct/docker/abc"
    freezer.mkdir(parents=True)
    cpuacct.mkdir(parents=True)
    (freezer / "freezer.state").write_text("FROZEN\n")
    (freezer / "cgroup.procs").write_text("11\n12\n")
    (cpuacct / "cpuacct.usage").write_text("1500000000\n")
    vitals = read_v1(tmp_path, groups)
    assert vitals is not None
    assert (vitals.processes, vitals.stopped, vitals.cpu_s) == (2, 2, 1.5)
    assert read_v1(tmp_path, {}) is None


def test_vitals_of_cgroups_version_2(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/system.slice/docker-abc.scope\n")
    group = groups_of(membership)[""]
    directory = tmp_path / group
    directory.mkdir(parents=True)
    (directory / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (directory / "cgroup.procs").write_text("11\n")
    (directory / "cpu.stat").write_text("usage_usec 250000\nuser_usec 1\n")
    vitals = read_v2(tmp_path, group)
    assert vitals is not None
    assert (vitals.processes, vitals.stopped, vitals.cpu_s) == (1, 0, 0.25)
    assert read_v2(tmp_path / "none", group) is None
