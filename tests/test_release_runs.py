"""Runs and campaigns with several releases of Ray, told side by side; what does the work here is a stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from chaos import cli, release_campaigns, release_runs
from chaos.arguments import parser_for
from chaos.errors import ClusterError, InvalidSpec
from chaos.installed import ray_version
from chaos.release import Release
from chaos.release_campaigns import hunt_with_each
from chaos.release_runs import run_with_each, told_by
from chaos.store import RunDirectory
from tests.conftest import ROOT
from tests.sim.twin import run_on_twin, twin_spec

LIMIT_S = 60
OLD, NEW = Release("2.48.0"), Release("2.54.1")
TEXT = "cluster: {max_workers: 2}\nworkload: {name: task_bursts, stages: [{tasks: 2, batches: 8}]}\nschedule: []\n"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    store = tmp_path_factory.mktemp("recorded")
    run_on_twin(TEXT, store)
    return RunDirectory(next(path for path in store.iterdir() if "baseline" not in path.name))


def tells(monkeypatch: pytest.MonkeyPatch, where: Any, answers: Mapping[str, tuple[int, str]]) -> list[Sequence[str]]:
    """A stand-in for the processes, by release; the arguments they were given."""
    given: list[Sequence[str]] = []

    def told_by(release: Release, arguments: Sequence[str]) -> tuple[int, str]:
        given.append(arguments)
        return answers[release.version]

    monkeypatch.setattr(where, "told_by", told_by)
    return given


def test_runs_with_several_releases_are_a_table(
    recorded: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"✓ PASS\nreport: {recorded.report}\npicture: {recorded.picture}\n"
    given = tells(monkeypatch, release_runs, {"2.48.0": (0, said), "2.54.1": (0, said)})
    done = run_with_each(twin_spec(TEXT), [OLD, NEW], store=tmp_path, tell=lambda _: None)
    assert [arguments[-2:] for arguments in given] == [["--store", str(tmp_path)]] * 2
    assert done.judgement == "pass"
    header, _, *rows = done.text.splitlines()
    assert header.split() == ["Ray", "verdict", "what", "failed", "launched", "ended", "up", "down"]
    assert [row.split()[:5] for row in rows[:2]] == [
        ["2.48.0", "pass", "–", "2", "2"],
        ["2.54.1", "pass", "–", "2", "2"],
    ]
    assert rows[-1] == f"2.54.1: {recorded.report}"
    told = json.loads(done.json)
    assert [one["ray"] for one in told["releases"]] == ["2.48.0", "2.54.1"]
    assert told["releases"][0]["directory"] == str(recorded.path)


def test_a_run_with_one_release_says_what_a_run_says(
    recorded: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"✓ PASS\nreport: {recorded.report}\n"
    tells(monkeypatch, release_runs, {"2.48.0": (0, said)})
    done = run_with_each(twin_spec(TEXT), [OLD], store=tmp_path, tell=pytest.fail)
    assert done.text == said.rstrip()
    assert json.loads(done.json)["verdict"] == "pass"


def test_an_interrupted_run_is_the_last(
    recorded: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tells(monkeypatch, release_runs, {"2.48.0": (130, f"report: {recorded.report}\n"), "2.54.1": (0, "")})
    done = run_with_each(twin_spec(TEXT), [OLD, NEW], store=tmp_path, tell=lambda _: None)
    assert done.interrupted
    assert len(given) == len(done.runs) == 1


def test_a_run_without_a_report_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tells(monkeypatch, release_runs, {"2.48.0": (4, "")})
    with pytest.raises(ClusterError, match=r"with Ray 2\.48\.0 ended with exit code 4"):
        run_with_each(twin_spec(TEXT), [OLD], store=tmp_path, tell=pytest.fail)


def test_what_a_process_writes_and_how_it_ends_is_returned() -> None:
    assert told_by(OLD, ["-c", "print('said'); raise SystemExit(3)"]) == (3, "said\n")


ENDS = """
import signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: (print(signal.Signals(number).name), sys.exit(130)))
print("there", flush=True)
time.sleep(60)
"""


@pytest.fixture
def not_ignored() -> Iterator[None]:
    """These signals end a process, though whatever started the tests may ignore them: nohup, a shell's background."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGQUIT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("not_ignored")
@pytest.mark.parametrize(
    ("number", "heard"),
    [("SIGINT", "SIGINT"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGTERM"), ("SIGQUIT", "SIGTERM")],
)
def test_a_signal_is_for_the_process_that_does_the_work(number: str, heard: str) -> None:
    """It is sent to this process alone, as a terminal does not."""
    signals = f"os.kill(os.getppid(), signal.{number})"
    code = f"import os, threading\nthreading.Timer(0.3, lambda: {signals}).start()\n{ENDS}"
    assert told_by(OLD, ["-c", code]) == (130, f"there\n{heard}\n")


def test_a_handler_that_was_not_set_from_python_is_put_back_as_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_handler(number: int, handler: Any) -> Any:
        """Of the first that is set, what was there before came with the process that Python is in."""
        before = set_to(number, handler)
        taken.append((number, before))
        return None if len(taken) == 1 else before

    set_to = signal.signal
    taken: list[tuple[int, Any]] = []
    monkeypatch.setattr(signal, "signal", set_handler)
    try:
        assert told_by(OLD, ["-c", "print('said')"]) == (0, "said\n")
        (first, _), *others = taken[: len(taken) // 2]
        assert signal.getsignal(first) == signal.SIG_DFL
        assert [signal.getsignal(number) for number, _ in others] == [before for _, before in others]
    finally:
        for number, before in taken[: len(taken) // 2]:
            set_to(number, before)


def test_a_process_that_a_signal_ends_at_once_was_interrupted() -> None:
    code = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"
    assert told_by(OLD, ["-c", code]) == (130, "")


def test_a_signal_that_comes_before_the_process_is_there_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Release, arguments: Sequence[str]) -> subprocess.Popen[str]:
        os.kill(os.getpid(), signal.SIGINT)
        return started(self, arguments)

    started = Release.start
    monkeypatch.setattr(Release, "start", start)
    code, told = told_by(OLD, ["-c", "import time; time.sleep(60)"])
    assert (code, told) == (130, "")


def test_an_interrupted_campaign_is_the_last(tmp_path: Path) -> None:
    """A signal to the command alone ends the campaign that goes on, and what it has found is told."""
    command = [sys.executable, "-m", "chaos.cli", "fuzz", "--budget", "10m", "--seed", "3", "--store", str(tmp_path)]
    command += ["--ray", ray_version(), "--json", str(tmp_path / "found.json")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "runs" in line:
                break
        below = psutil.Process(running.pid).children(recursive=True)
        assert below
        running.send_signal(signal.SIGINT)
        told, _ = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 130
    assert "interrupted; the same command with --seed 3 goes on where it was" in told
    assert json.loads((tmp_path / "found.json").read_text())["releases"][0]["interrupted"] is True
    _, left = psutil.wait_procs(below, timeout=LIMIT_S)
    assert left == []


def test_an_interruption_between_them_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(release_campaigns, "hunt_with_each", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main(["fuzz", "--ray", ray_version()])
    assert (ended.value.code, capsys.readouterr().err) == (130, "raychaos: interrupted\n")


def test_each_release_is_searched_as_was_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {
        "cluster": "sim", "provider": "cloud", "budget": "60.000000s", "max-runs": "9", "workers": "2",
        "faults": "kill_node", "not-faults": "pause_node", "workloads": "task_bursts", "search": "guided",
        "mode": "exact", "stop-on": "first", "store": str(tmp_path),
    }  # fmt: skip
    heard: list[str] = []

    def searched(_: object, arguments: Sequence[str], **__: object) -> None:
        heard.extend(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(release_campaigns, "hunt_with_each", searched)
    words = [word for name, value in asked.items() for word in (f"--{name}", value)]
    with pytest.raises(SystemExit):
        cli.main(["fuzz", "--ray", ray_version(), "--allow-missing", *words])
    assert dict(zip(heard[:-1:2], heard[1::2], strict=True)) == {f"--{name}": value for name, value in asked.items()}
    assert heard[-1] == "--allow-missing"
    # The rest is for the command itself, or is said by `hunt_with_each`.
    known = {name.replace("_", "-") for name in vars(parser_for([]).parse_args(["fuzz"]))} - {"command"}
    assert known == asked.keys() | {"allow-missing", "ray", "try-ray", "on", "seed", "json", "corpus"}


def test_campaigns_are_counted_by_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failure(property: str, ray: str, hits: int) -> dict[str, Any]:
        return {"signature": {"property": property}, "ray": ray, "hits": hits}

    found = {
        "2.48.0": [failure("no_overshoot", "2.48.0", 2), failure("updates_succeed", "2.48.0", 1)],
        "2.54.1": [failure("no_overshoot", "2.54.1", 3)],
    }
    corpora = []

    def told_by(release: Release, arguments: Sequence[str]) -> tuple[int, str]:
        assert list(arguments[2:6]) == ["fuzz", "--max-runs", "20", "--seed"]
        corpora.append(arguments[arguments.index("--corpus") + 1])
        written = Path(arguments[arguments.index("--json") + 1])
        written.write_text(json.dumps({"runs": 20, "failures": found[release.version]}))
        return 1, f"campaign with {release.version}\n"

    monkeypatch.setattr(release_campaigns, "told_by", told_by)
    done = hunt_with_each([OLD, NEW], ["--max-runs", "20"], seed=7, corpus=tmp_path, tell=lambda _: None)
    assert done.code == 1
    assert corpora == [str(tmp_path / "ray-2.48.0"), str(tmp_path / "ray-2.54.1")]
    rows = [line.split() for line in done.text.splitlines()[-3:]]
    assert rows == [["no_overshoot", "2", "3"], ["updates_succeed", "1", "–"], ["runs", "20", "20"]]
    told = json.loads(done.json)
    assert [one["ray"] for one in told["releases"]] == ["2.48.0", "2.54.1"]
    assert [one["ray"] for one in told["failures"]] == ["2.48.0", "2.48.0", "2.54.1"]


def test_a_campaign_that_gave_up_is_told_by_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told_by(release: Release, arguments: Sequence[str]) -> tuple[int, str]:
        written = Path(arguments[arguments.index("--json") + 1])
        written.write_text(json.dumps({"runs": 4, "failures": []}))
        return {"2.48.0": 4, "2.54.1": 1}[release.version], "given up\n"

    monkeypatch.setattr(release_campaigns, "told_by", told_by)
    done = hunt_with_each([OLD, NEW], [], seed=7, corpus=tmp_path, tell=lambda _: None)
    assert done.code == 4


def test_a_campaign_that_cannot_be_meant_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tells(monkeypatch, release_campaigns, {"2.48.0": (2, "")})
    with pytest.raises(InvalidSpec, match="what is wrong with it is said above"):
        hunt_with_each([OLD], [], seed=7, corpus=tmp_path, tell=lambda _: None)
