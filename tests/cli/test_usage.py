"""Exit codes, and what is said where a command cannot be meant."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from chaos import __version__, cli, commands
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from chaos.errors import ClusterError, ExceptionGroup
from chaos.home import home
from tests.cli.said import Command


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rnu"], "invalid choice: 'rnu'"),
        (["run", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["run", "--cluster", "cloud9"], "argument --cluster: invalid choice: 'cloud9'"),
        (["run", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["check"], "the following arguments are required: RUN"),
        (["report"], "the following arguments are required: RUN"),
    ],
)
def test_wrong_usage_is_2(raychaos: Command, arguments: list[str], says: str) -> None:
    said = raychaos(*arguments)
    assert said.code == 2
    assert says in said.err
    assert said.out == ""


@pytest.mark.usefixtures("no_clusters")
@pytest.mark.parametrize("command", ["run", "up"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.yaml"], "nothing.yaml: No such file or directory; give a readable YAML file"),
        (["bad.yaml"], "bad.yaml:2:3: at cluster.max_worker: unknown field 'max_worker'; did you mean 'max_workers'?"),
        (["malformed.yaml"], "malformed.yaml:2:1: malformed YAML: "),
        (["--set", "seed"], "--set 'seed': write path=value"),
        (["--set", "cluster.max_worker=1"], "--set cluster.max_worker: at cluster.max_worker: unknown field"),
        (["--set", "schedule.0.fault=kill"], "unknown fault 'kill'"),
        (["--set", "cluster.node_types={a: {resources: {CPU: 1}}}"], "which no node type can hold"),
        (["head.yaml", "--set", "blast_radius.head=false"], "the head would be hit, blast_radius.head is false"),
        (["--set", "abort.command=[no-such-program, -q]"], "at abort.command: there is no program 'no-such-program'"),
        (["network.yaml"], "needs ShapesNetworks, which a local cluster does not have; `raychaos doctor` lists"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_2_and_starts_nothing(
    raychaos: Command, tmp_path: Path, command: str, arguments: list[str], says: str
) -> None:
    (tmp_path / "bad.yaml").write_text("cluster:\n  max_worker: 3\n")
    (tmp_path / "malformed.yaml").write_text("a: 'b\n")
    network = "{fault: throttle_network, rate_mbit: 5, target: w1, at_s: 1, duration_s: 1}"
    (tmp_path / "network.yaml").write_text(f"schedule:\n  - {network}\n")
    (tmp_path / "head.yaml").write_text("schedule: [{fault: kill_node, target: head, at_s: 1}]\n")
    said = raychaos(command, *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("raychaos: error: ")
    assert says in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
    assert not (home() / "clusters").exists()


@pytest.mark.usefixtures("no_clusters")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--workload", "batch_inferense"], "unknown workload 'batch_inferense'; did you mean 'batch_inference'?"),
        (["--workload", "a}"], "malformed YAML"),
        (["--seed", "-1"], "at seed: Input should be greater than or equal to 0, not -1"),
        (["--schedule", "nothing.yaml"], "nothing.yaml: No such file or directory"),
        (["--schedule", "words.yaml"], "words.yaml:1:1: a schedule is a list of injections, not str"),
        (["--schedule", "late.yaml"], "late.yaml: at schedule.injections.0.at_s: at_s 900 is not before the deadline"),
        (["--schedule", "typo.yaml"], "typo.yaml:1:4: at 0.fautl: unknown field of kill_node 'fautl'"),
        (["--name", "Not A Label"], "cluster name 'Not A Label': use lower-case letters, digits and dashes"),
    ],
)
def test_options_of_run_that_cannot_be_meant_are_2(
    raychaos: Command, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "words.yaml").write_text("words\n")
    (tmp_path / "late.yaml").write_text("- {fault: kill_node, target: w1, at_s: 900}\n")
    (tmp_path / "typo.yaml").write_text("- {fautl: 1, fault: kill_node, target: w1, at_s: 1}\n")
    said = raychaos("run", *arguments)
    assert (said.code, said.out) == (2, ""), said.err
    assert says in said.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("head", "the job does NOT survive; it is to fail, clearly and soon (i1 (kill_node)"),
        ("w1", "the job survives ("),
    ],
)
def test_what_is_expected_is_said_before_a_cluster_is_started(
    raychaos: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, says: str
) -> None:
    async def no_room(self: CloudCluster) -> None:
        raise ClusterError("no room")

    monkeypatch.setattr(CLUSTERS["local"], "start", no_room)
    (tmp_path / "my.yaml").write_text(f"schedule: [{{fault: kill_node, target: {target}, at_s: 1}}]\n")
    said = raychaos("run", "my.yaml")
    assert said.code == 4
    assert said.err.startswith(f"[ setup ] expected: {says}")


@pytest.mark.usefixtures("no_clusters")
def test_a_store_that_cannot_be_written_is_4(raychaos: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = raychaos("run", "--store", "file")
    assert said.code == 4
    assert "cannot write run directories here" in said.err


def test_a_machine_that_cannot_is_4_and_so_is_a_group_of_such(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [
        ClusterError("no room"), ExceptionGroup("closing", [ClusterError("no room"), OSError("gone")])
    ]  # fmt: skip
    for error in errors:

        async def fails(*, as_json: bool, error: Exception = error) -> NoReturn:
            raise error

        monkeypatch.setattr(commands, "ps", fails)
        said = raychaos("ps")
        assert said.code == 4
        assert "raychaos: error: no room\n" in said.err


def test_ctrl_c_is_130(raychaos: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*, as_json: bool) -> str:
        raise asyncio.CancelledError

    monkeypatch.setattr(commands, "ps", interrupted)
    assert raychaos("ps").code == 130


# Work that goes on when it is interrupted, as healing does, with something still to be done on the way out.
STUBBORN = """
import asyncio, sys
from chaos import cli
from chaos.finish import Departure, to_the_end

async def heal():
    print("at work", flush=True)
    await asyncio.sleep(600)

async def last_act():
    print("last act", flush=True)
    if "hang" in sys.argv:
        await asyncio.sleep(600)
    return "all is undone"

departure = Departure()
departure.prepare(last_act)
sys.exit(cli._interruptible(lambda: to_the_end(heal()), departure))
"""


@pytest.mark.parametrize(
    ("arguments", "presses", "said"),
    [
        ((), 2, ["leaving at once", "all is undone"]),
        (("hang",), 2, ["leaving at once", "harm in force ends with its leases, or now by `raychaos heal`"]),
        (("hang",), 3, ["leaving at once"]),
    ],
)
def test_the_second_ctrl_c_carries_out_one_last_act_and_leaves_the_third_leaves(
    arguments: tuple[str, ...], presses: int, said: list[str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        assert "once more to leave at once" in process.stderr.readline()
        began_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "last act\n"
        if presses > 2:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert time.monotonic() - began_s < 10.0
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    lines = [line.removeprefix("raychaos: ") for line in err.splitlines()]
    assert len(lines) == len(said)
    assert all(line.startswith(words) for line, words in zip(lines, said, strict=True))


def test_version_and_help_are_0(raychaos: Command) -> None:
    assert raychaos("--version").out == f"raychaos {__version__}\n"
    for command in ("", "run", "up", "down", "ps", "check", "report", "schema", "heal", "doctor"):
        said = raychaos(*command.split(), "--help")
        assert said.code == 0
        assert said.out.startswith("usage: raychaos")


def test_schema_is_json(raychaos: Command) -> None:
    said = raychaos("schema")
    assert said.code == 0
    assert json.loads(said.out)["title"] == "raychaos run specification"


def test_every_exit_code_is_told_in_the_help(raychaos: Command) -> None:
    told = raychaos("--help").out
    codes = {getattr(cli, name) for name in vars(cli) if name.startswith("EXIT_") and name != "EXIT_OF"}
    assert codes == {0, 1, 2, 3, 4, 130}
    assert all(f"\n  {code} " in told for code in codes)
