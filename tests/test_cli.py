"""The command line: for each thing a user gets wrong one clear message, the right exit code, and nothing left."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from chaos import __version__, cli, commands
from chaos.cli import main
from chaos.cluster_spec import ClusterSpec
from chaos.clusters import compose_leftovers
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from chaos.errors import ClusterError, ExceptionGroup, InjectionError
from chaos.home import home

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def raychaos(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in an empty directory and home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path / "home"))

    def run(*arguments: str | Path) -> Said:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        assert "Traceback" not in said.err
        return Said(ended.value.code, said.out, said.err)

    return run


@pytest.fixture
def no_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that is started all the same is a failure."""

    async def never(self: CloudCluster) -> None:
        raise AssertionError("a cluster was started")

    for kind in CLUSTERS.values():
        monkeypatch.setattr(kind, "start", never)


def edited(tmp_path: Path, edit: Callable[[list[str]], list[str]], golden: str = "local_pass") -> Path:
    """A copy of a golden run whose history's lines are edited."""
    run = tmp_path / "edited"
    shutil.copytree(GOLDEN / golden, run)
    history = run / "history.jsonl"
    history.write_text("".join(edit(history.read_text().splitlines(keepends=True))))
    return run


# -- wrong usage ----------------------------------------------------------------------------------------------


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


# -- recorded runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", sorted(GOLDEN.iterdir()), ids=lambda run: run.name)
def test_check_ends_with_the_code_of_the_verdict(raychaos: Command, run: Path) -> None:
    expected = json.loads((run / "expected.json").read_text())["verdict"]
    said = raychaos("check", run)
    assert said.code == {"pass": 0, "fail": 1, "inconclusive": 3}[expected]
    assert expected.upper() in said.out.splitlines()[0]
    as_json = raychaos("check", run, "--json")
    assert as_json.code == said.code
    assert json.loads(as_json.out)["verdict"] == expected
    report = raychaos("report", run)
    assert report.code == 0
    assert expected.upper() in report.out


def test_a_run_is_found_in_the_store(raychaos: Command) -> None:
    assert raychaos("check", "local_pass", "--store", GOLDEN).code == 0
    assert raychaos("check", GOLDEN / "local_pass" / "history.jsonl").code == 0


@pytest.mark.parametrize("command", ["check", "report"])
def test_a_run_that_is_not_there_is_2(raychaos: Command, tmp_path: Path, command: str) -> None:
    (tmp_path / "empty").mkdir()
    for run, says in (("nothing", "no run 'nothing'"), ("empty", "no history.jsonl in it"), ("", "no history.jsonl")):
        said = raychaos(command, run)
        assert (said.code, said.out) == (2, "")
        assert says in said.err


def version_99(lines: list[str]) -> list[str]:
    return [lines[0].replace('"format":1', '"format":99'), *lines[1:]]


def unknown_event(lines: list[str]) -> list[str]:
    return [*lines[:5], lines[5].replace('"kind":"', '"kind":"future.'), *lines[6:]]


@pytest.mark.parametrize("command", ["check", "report"])
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        pytest.param(lambda lines: lines[:0], "the history holds no complete event; the run never began", id="empty"),
        pytest.param(lambda lines: [lines[0][:50]], "no complete event", id="torn in the first line"),
        pytest.param(lambda lines: lines[1:], "line 1: event 1 stands where 0 belongs", id="front missing"),
        pytest.param(lambda lines: [*lines[:9], *lines[12:]], "line 10: event 12 stands where 9 belongs", id="hole"),
        pytest.param(
            lambda lines: [*lines[:9], "{\n", *lines[10:]], "line 10: not an event of this version", id="damaged"
        ),
        pytest.param(version_99, "history format 99, this raychaos reads format 1; check it with the version", id="99"),
        pytest.param(unknown_event, "line 6: not an event of this version: ", id="unknown event"),
    ],
)
def test_a_history_that_cannot_be_read_is_2_and_says_where(
    raychaos: Command, tmp_path: Path, command: str, edit: Callable[[list[str]], list[str]], says: str
) -> None:
    said = raychaos(command, edited(tmp_path, edit))
    assert (said.code, said.out) == (2, "")
    assert "history.jsonl" in said.err
    assert says in said.err


def test_a_history_cut_short_is_inconclusive_not_a_pass(raychaos: Command, tmp_path: Path) -> None:
    cut = edited(tmp_path, lambda lines: [*lines[:400], lines[400][:30]])
    said = raychaos("check", cut)
    assert said.code == 3
    assert raychaos("report", cut).code == 0


def test_a_failure_stays_one_when_the_seal_is_lost(raychaos: Command, tmp_path: Path) -> None:
    assert raychaos("check", edited(tmp_path, lambda lines: lines[:-1], "local_hung")).code == 1


# -- clusters -------------------------------------------------------------------------------------------------


def test_without_clusters_there_is_nothing_to_list_end_or_heal(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())  # other tests' processes are none of ours
    assert raychaos("ps").out == "no clusters; `raychaos up` starts one\n"
    assert json.loads(raychaos("ps", "--json").out) == []
    said = raychaos("down")
    assert (said.code, said.err) == (2, "raychaos: error: which cluster? there are: none; or give --all\n")
    assert raychaos("down", "nothing").code == 2
    assert raychaos("down", "--all").code == 0
    assert raychaos("heal").out == "nothing was left behind\n"


def dead_cluster(name: str, **changes: object) -> Path:
    """The directory of a cluster whose processes are gone."""
    root = home() / "clusters" / name
    root.mkdir(parents=True)
    config = {"cluster": name, "mark": f"{name}#test-0", "driver": "process", "spec": ClusterSpec().model_dump()}
    (root / "cluster.json").write_text(json.dumps(config | changes))
    return root


def test_a_dead_cluster_is_listed_as_such_and_healed_away(raychaos: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    root = dead_cluster("old")
    monkeypatch.setattr(CloudCluster, "attach", _fails)
    listed = raychaos("ps").out
    assert listed.startswith("old  local  dead  ")
    said = raychaos("heal")
    assert (said.code, said.out) == (0, "old: dead; removed what was left of it\n")
    assert not root.exists()


def test_a_cluster_whose_cloud_runs_and_does_not_answer_is_not_called_dead(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_cluster("stuck")
    monkeypatch.setattr(CloudCluster, "attach", _fails)
    monkeypatch.setattr(commands.CLUSTERS["local"], "_cloud_alive", lambda _: True)
    assert raychaos("ps").out == "stuck  local  silent  cluster 'stuck' does not answer\n"


class HalfHealed:
    """A warm cluster that lets go of some effects only, and may still show harm."""

    def __init__(self, effects: set[str], stuck: set[str], shows: tuple[str, ...] = ()) -> None:
        self.effects = effects
        self.stuck = stuck
        self.shows = shows

    def answers(self) -> bool:
        return True

    async def attach(self) -> None:
        """It is there."""

    async def release(self) -> None:
        """It stays."""

    async def active_effects(self) -> tuple[str, ...]:
        return tuple(sorted(self.effects))

    async def leftovers(self) -> tuple[str, ...]:
        return self.shows

    async def undo_all(self) -> tuple[str, ...]:
        self.effects &= self.stuck
        if self.stuck:
            raise InjectionError("effects could not be undone: e2: no answer")
        return ()


@pytest.mark.parametrize(
    ("cluster", "out", "err"),
    [
        (HalfHealed({"e1", "e3"}, set()), "warm: undid e1\nwarm: undid e3\n", []),
        (
            HalfHealed({"e1", "e2"}, {"e2"}, ("effect in force: e2",)),
            "warm: undid e1\n",
            [
                "warm: effects could not be undone: e2: no answer",
                "warm: still shows effect in force: e2; `raychaos down warm` ends it",
            ],
        ),
        (HalfHealed({"e2"}, {"e2"}), "", ["warm: effects could not be undone: e2: no answer"]),
        (HalfHealed(set(), set()), "nothing was left behind\n", []),
    ],
)
def test_healing_tells_what_was_undone_and_what_was_not(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch, cluster: HalfHealed, out: str, err: list[str]
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    monkeypatch.setattr(compose_leftovers, "orphans", lambda: ())
    dead_cluster("warm")
    monkeypatch.setattr(commands, "_existing", lambda _: cluster)
    said = raychaos("heal")
    assert (said.code, said.out) == (4 if err else 0, out)
    assert said.err.splitlines() == [f"raychaos: error: {line}" for line in err]


async def _fails(self: CloudCluster) -> None:
    raise ClusterError(f"cluster {self.name!r} does not answer")


@pytest.mark.parametrize("changes", [{"colour": "red"}, {"driver": "balloon"}, {"mark": 7}])
def test_a_cluster_of_another_version_does_not_stop_the_others_and_is_healed_away(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    root = dead_cluster("future", **changes)
    said = raychaos("ps")
    assert said.code == 0
    assert said.out.startswith("future  unknown  unreadable  ")
    assert "not a cluster of this version" in said.out
    assert commands.leftovers() == ["unreadable cluster 'future'"]
    said = raychaos("heal")
    assert (said.code, said.out) == (0, "future: dead and unreadable; ended 0 processes and removed its directory\n")
    assert not root.exists()
    assert raychaos("heal").out == "nothing was left behind\n"


@pytest.mark.parametrize("announced", [True, False])
def test_a_cluster_of_containers_whose_engine_is_silent_may_be_alive_and_is_left_alone(
    raychaos: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    root = dead_cluster("boxes", driver="docker", spec=ClusterSpec(kind="compose").model_dump())
    if announced:
        (root / "cloud").mkdir()
        (root / "cloud" / "address.json").write_text(json.dumps({"port": 8400, "pid": 1, "start_ticks": 1}))
        assert commands.leftovers() == [], "nothing is known of it"
    listed = raychaos("ps").out
    assert listed.startswith("boxes  compose  unknown  no Docker engine answers at unix://")
    said = raychaos("heal")
    assert said.code == 0
    assert said.out.startswith("boxes: left alone: no Docker engine answers at unix://")
    assert (root / "cluster.json").exists()
    down = raychaos("down", "boxes")
    assert down.code == 4
    assert "no Docker engine answers" in down.err
    assert (root / "cluster.json").exists()


def test_an_unreadable_cluster_that_may_have_containers_is_left_alone(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    root = dead_cluster("future", driver="docker", colour="red")
    assert "left alone, for it may have containers" in raychaos("heal").out
    assert root.exists()


def test_a_name_that_is_taken_is_4(raychaos: Command) -> None:
    root = dead_cluster("main")
    said = raychaos("up", "--name", "main", "--cluster", "local")
    assert said.code == 4
    assert "there is a cluster named 'main' already" in said.err
    assert root.exists()


def test_a_run_under_the_name_of_another_cluster_is_2(raychaos: Command, tmp_path: Path) -> None:
    dead_cluster("main", spec=ClusterSpec(max_workers=1).model_dump())
    said = raychaos("run", "--name", "main")
    assert said.code == 2
    assert "is up with another specification" in said.err
    assert runs(tmp_path) == []


def test_a_run_whose_cluster_cannot_be_started_leaves_no_run_directory(
    raychaos: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[str]] = []

    async def fails(self: CloudCluster) -> None:
        made.append([path.name for run in runs(tmp_path) for path in run.glob("*.yaml")])
        raise ClusterError("no room")

    monkeypatch.setattr(CLUSTERS["local"], "start", fails)
    said = raychaos("run")
    assert (said.code, said.err.splitlines()[-1]) == (4, "raychaos: error: no room")
    assert [sorted(names) for names in made] == [["schedule.yaml", "spec.yaml"]], "there before anything began"
    assert runs(tmp_path) == []


def runs(directory: Path) -> list[Path]:
    """The run directories below it."""
    return list(directory.glob("runs/*"))


def test_every_exit_code_is_told_in_the_help(raychaos: Command) -> None:
    told = raychaos("--help").out
    codes = {getattr(cli, name) for name in vars(cli) if name.startswith("EXIT_") and name != "EXIT_OF"}
    assert codes == {0, 1, 2, 3, 4, 130}
    assert all(f"\n  {code} " in told for code in codes)
