"""Replay and shrink where a failure shows now and then, on a stand-in for warm clusters that plays recorded runs."""

from __future__ import annotations

import asyncio
import fcntl
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos import cli, rerun
from chaos.campaign import View
from chaos.errors import ClusterError
from chaos.history import History
from chaos.rerun import due_times
from chaos.spec import RunSpec

GOLDEN = Path(__file__).parent / "golden"
SPEC = """\
cluster: {kind: local}
schedule:
  - {id: a, fault: kill_node, target: oldest, at_s: 3}
  - {id: b, fault: pause_node, target: newest, at_s: 4, duration_s: 2}
  - {id: bad, fault: delay_launch, delay_s: 3, at_s: 5, duration_s: 10}
  - {id: c, fault: kill_node, target: newest, on: {event: node.joined, nth: 2}}
"""


class Recordings:
    """A hung run in seven of ten where `bad` is in the schedule, else one that passed."""

    made = 0
    ended = 0
    stop_at: tuple[int, BaseException] | None = None

    def __init__(self, name: str, *, view: Callable[[], View]) -> None:
        self._rng = random.Random(name)

    async def run(self, spec: RunSpec, *, store: Path, scope: str) -> Path:
        """One run."""
        if Recordings.stop_at is not None and Recordings.made == Recordings.stop_at[0]:
            raise Recordings.stop_at[1]
        Recordings.made += 1
        bad = any(injection.id == "bad" for injection in spec.schedule.injections) and self._rng.random() < 0.7
        path = store / f"run-{Recordings.made}"
        shutil.copytree(GOLDEN / ("local_hung" if bad else "local_pass"), path)
        return path

    async def close(self) -> None:
        """All are ended."""
        Recordings.ended += 1


@pytest.fixture(autouse=True)
def recordings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rerun, "WarmClusters", Recordings)
    monkeypatch.setattr(Recordings, "made", 0)
    monkeypatch.setattr(Recordings, "ended", 0)
    monkeypatch.setattr(Recordings, "stop_at", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flaky.yaml").write_text(SPEC)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().out


def test_replay_tells_the_rate_and_keeps_one_run_of_each_failure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out = told(capsys, "replay", "flaky.yaml", "--times", "12")
    assert code == cli.EXIT_FAIL
    assert Recordings.made == 12
    assert Recordings.ended == 1
    assert "of 12 runs; 95 % interval" in out
    assert "job_completes" in out
    [kept] = [path for path in (tmp_path / "runs").iterdir() if path.is_dir() and not path.is_symlink()]
    assert (kept / "report.txt").is_file()


@pytest.mark.parametrize(
    ("error", "code", "why"),
    [
        (asyncio.CancelledError(), cli.EXIT_INTERRUPTED, "by Ctrl-C"),
        (ClusterError("the Cloud is gone"), cli.EXIT_MACHINE, "the Cloud is gone"),
    ],
)
def test_what_was_seen_before_an_interruption_is_told(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, why: str
) -> None:
    Recordings.stop_at = (4, error)
    ended, out = told(capsys, "replay", "flaky.yaml", "--times", "12")
    assert (ended, Recordings.made, Recordings.ended) == (code, 4, 1)
    assert "of 4 runs; 95 % interval" in out
    assert f"interrupted: {why}; there were to be more runs" in out


@pytest.mark.parametrize(
    ("error", "code"),
    [(asyncio.CancelledError(), cli.EXIT_INTERRUPTED), (ClusterError("no memory"), cli.EXIT_MACHINE)],
)
def test_an_interruption_of_the_first_run_has_nothing_to_tell(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    Recordings.stop_at = (0, error)
    ended, out = told(capsys, "replay", "flaky.yaml")
    assert (ended, Recordings.ended, "of 0 runs" in out) == (code, 1, False)


def test_the_exit_code_can_be_that_of_one_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(SPEC.replace("id: bad", "id: good"))
    words = ("--times", "6", "--failure")
    assert told(capsys, "replay", "good.yaml", *words, "job_completes")[0] == cli.EXIT_PASS
    assert told(capsys, "replay", "flaky.yaml", *words, "job_completes")[0] == cli.EXIT_FAIL
    # Runs that fail otherwise prove nothing of it.
    assert told(capsys, "replay", "flaky.yaml", *words, "no_overshoot")[0] == cli.EXIT_INCONCLUSIVE


def test_replay_until_confident_goes_on_until_the_interval_is_narrow(capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "replay", "flaky.yaml", "--until-confident")
    assert 20 < Recordings.made < 60


def test_clean_runs_say_what_they_prove(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(SPEC.replace("id: bad", "id: good"))
    code, out = told(capsys, "replay", "good.yaml")
    assert (code, Recordings.made) == (cli.EXIT_PASS, 10)
    assert "failed: 0% (0 of 10 runs; 95 % interval 0% to 31%)" in out
    assert "with 95 % confidence it fails in less than 26% of runs" in out


def test_shrink_finds_what_fails_now_and_then(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out = told(capsys, "shrink", "flaky.yaml")
    assert code == cli.EXIT_PASS
    assert "4 injections → 1" in out
    assert "before: " in out
    assert "of 20 runs; 95 % interval" in out
    [directory] = (tmp_path / "runs").glob("shrunk-*")
    result = json.loads((directory / "shrunk.json").read_text())
    assert result["runs"] == Recordings.made
    assert "TIMES = " in (directory / "test_shrunk.py").read_text()


def test_shrinking_anew_leaves_one_that_is_going_on_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Recordings.stop_at = (4, asyncio.CancelledError())
    assert told(capsys, "shrink", "flaky.yaml")[0] == cli.EXIT_INTERRUPTED
    [outcomes] = (tmp_path / "runs").glob("shrunk-*/outcomes.jsonl")
    before = outcomes.read_bytes()
    assert len(before.splitlines()) == 1 + 4
    with outcomes.with_name(f".{outcomes.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert told(capsys, "shrink", "flaky.yaml", "--anew")[0] == cli.EXIT_MACHINE
    assert outcomes.read_bytes() == before
    Recordings.stop_at = (5, asyncio.CancelledError())
    assert told(capsys, "shrink", "flaky.yaml", "--anew")[0] == cli.EXIT_INTERRUPTED
    assert len(outcomes.read_bytes().splitlines()) == 1 + 1


def test_due_times_are_counted_from_the_start_of_the_load() -> None:
    times_s = due_times(History.load(GOLDEN / "local_pass" / "history.jsonl"))
    assert times_s
    assert all(0.0 <= time_s < 300.0 for time_s in times_s.values())
