"""`raychaos replay` and `raychaos shrink` on the twin, end to end, with a planted bug in the Cloud."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos import cli
from chaos.cloud.core import Cloud
from chaos.clusters import sim
from chaos.harm import CloudHarm, LaunchFault, NodeHarm
from chaos.rate import Rate
from chaos.shrink import Shrunk
from chaos.shrinking import as_test
from chaos.signature import Signature
from tests.conftest import ROOT
from tests.sim.twin import twin_spec

SPEC = """\
name: planted
cluster: {kind: sim, idle_timeout_s: 6, node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2}}}
workload: {name: task_bursts, stages: [{tasks: 2, batches: 40}]}
schedule:
  - {fault: fail_launch, at_s: 1, duration_s: 2, may_miss: true}
  - {id: slow, fault: delay_launch, delay_s: 2.5, at_s: 0, duration_s: 14.5}
  - {fault: pause_node, target: newest, on: {event: node.joined, nth: 2}, duration_s: 2, may_miss: true}
  - {fault: change_idle_timeout, idle_timeout_s: 4, at_s: 8, duration_s: 3, may_miss: true}
  - {id: dead, fault: kill_node, target: random, on: {event: node.joined, nth: 2}, after_s: 3}
  - {fault: stop_node, target: oldest, duration_s: 3, on: {progress_percent: 60}, may_miss: true}
"""


class ForgetfulCloud(Cloud):
    """Carries out no termination any more once launches were delayed and a node was killed: it takes both."""

    delayed = killed = False

    async def apply(self, effect_id: str, harm: NodeHarm | CloudHarm, *, lease_s: float, node: str = "") -> None:
        """Remembers a delay."""
        self.delayed |= isinstance(harm, LaunchFault) and harm.delay_s > 0
        await super().apply(effect_id, harm, lease_s=lease_s, node=node)

    async def kill(self, node: str) -> None:
        """Remembers a kill."""
        self.killed = True
        await super().kill(node)

    async def terminate(self, instance_id: str) -> None:
        """Acknowledges it in any case."""
        if not (self.delayed and self.killed):
            await super().terminate(instance_id)


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def raychaos(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in an empty directory, with the planted Cloud."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sim, "Cloud", ForgetfulCloud)
    (tmp_path / "spec.yaml").write_text(SPEC)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


def test_a_planted_bug_is_found_shrunk_and_replayed(raychaos: Command, tmp_path: Path) -> None:
    assert raychaos("run", "spec.yaml")[0] == cli.EXIT_FAIL
    code, out, err = raychaos("replay", "runs/latest")
    assert code == cli.EXIT_FAIL, err
    assert "failed: 1 of 1 runs" in out
    assert "the recorded failure was not seen" not in out
    code, out, err = raychaos("shrink", "runs/latest")
    assert code == cli.EXIT_PASS, err
    assert "6 injections → 2" in out
    [directory] = (tmp_path / "runs").glob("shrunk-*")
    shrunk = twin_spec((directory / "spec.yaml").read_text()).schedule
    assert [injection.id for injection in shrunk.injections] == ["slow", "dead"]
    assert shrunk.injections[0].duration_s is not None
    assert shrunk.injections[0].duration_s < 14.5
    assert json.loads((directory / "shrunk.json").read_text())["finished"]
    runs = len((directory / "outcomes.jsonl").read_text().splitlines()) - 1
    for given in (directory / "spec.yaml", directory / "schedule.yaml"):
        code, again, err = raychaos("replay", str(given))
        assert code == cli.EXIT_FAIL, err
        assert "scale_down_converges" in again or "no_leaked_nodes" in again
    # The same command again has nothing left to do.
    code, out, err = raychaos("shrink", "runs/latest")
    assert code == cli.EXIT_PASS, err
    assert "6 injections → 2" in out
    assert f"in {runs} runs" in out
    assert "going on after" in err


def test_the_test_it_writes_fails_with_the_bug_and_passes_without(raychaos: Command, tmp_path: Path) -> None:
    text = "".join(line for line in SPEC.splitlines(keepends=True) if "fault:" not in line or "id:" in line)
    spec = twin_spec(text)
    shrunk = Shrunk(
        schedule=spec.schedule, signature=Signature(property="scale_down_converges"), before=Rate(runs=1, failures=1),
        after=Rate(), runs=9, seconds=9.0, finished=True, others={},
    )  # fmt: skip
    written = tmp_path / "test_shrunk.py"
    # The signature is that of what it shrank; another failure is no proof of anything.
    other = shrunk.model_copy(update={"signature": Signature(property="rows_exactly_once")})
    for signature, says in ((shrunk, "the failure is there"), (other, "not every run passed")):
        with pytest.raises(AssertionError, match=says):
            _test_of(as_test(spec.to_yaml(), signature, exact=True))(tmp_path)
    written.write_text(as_test(spec.to_yaml(), shrunk, exact=True))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(written)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def _test_of(text: str) -> Callable[[Path], None]:
    """The test in a file that was written."""
    namespace: dict[str, Callable[[Path], None]] = {}
    exec(compile(text, "test_shrunk.py", "exec"), namespace)
    return next(test for name, test in namespace.items() if name.startswith("test_"))


def test_as_many_runs_are_wanted_as_the_interval_asks_for() -> None:
    spec = twin_spec(SPEC)
    shrunk = Shrunk(
        schedule=spec.schedule, signature=Signature(property="no_leaked_nodes"), before=Rate(runs=4, failures=3),
        after=Rate(runs=20, failures=20), runs=24, seconds=9.0, finished=True, others={},
    )  # fmt: skip
    assert "\nTIMES = 2\n" in as_test(spec.to_yaml(), shrunk, exact=False)  # in 83 % of runs at least
    unlucky = as_test(spec.to_yaml(), shrunk.model_copy(update={"after": Rate(runs=20)}), exact=False)
    assert "the schedule it came from failed so in 75% (3 of 4 runs" in unlucky
    seldom = as_test(spec.to_yaml(), shrunk.model_copy(update={"after": Rate(runs=20, failures=1)}), exact=False)
    assert "59 of them prove (95 %) that it comes in less than 5% of runs" in seldom


def test_a_budget_of_runs_keeps_the_best_so_far_and_says_how_to_go_on(raychaos: Command, tmp_path: Path) -> None:
    raychaos("run", "spec.yaml")
    code, out, _ = raychaos("shrink", "runs/latest", "--max-runs", "3")
    assert code == cli.EXIT_PASS
    assert "the budget is spent; this is the smallest so far. To go on: raychaos shrink runs/latest" in out
    [directory] = (tmp_path / "runs").glob("shrunk-*")
    left = twin_spec((directory / "spec.yaml").read_text()).schedule
    assert 2 <= len(left.injections) < 6


def test_an_event_that_does_not_come_is_said_to_have_been_replaced_by_time(raychaos: Command, tmp_path: Path) -> None:
    late = "{id: late, fault: kill_node, target: oldest, on: {event: node.joined, nth: 50}, or_at_s: 9}"
    (tmp_path / "late.yaml").write_text(f"injections:\n- {late}\n")
    code, out, err = raychaos("replay", "late.yaml", "--spec", "spec.yaml")
    assert code == cli.EXIT_PASS, err
    assert "late came by time in 1 of 1 runs: its event had not come" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("shrink", "absent"), "no run 'absent'"),
        (("shrink", "none.yaml"), "no injections, so there is nothing to remove"),
        (("replay", "spec.yaml", "--spec", "spec.yaml"), "is a specification itself"),
        (("shrink", "fine.yaml", "--spec", "spec.yaml"), "did not fail in 1 runs"),
        (("shrink", "spec.yaml", "--budget", "soon"), "is no duration"),
        (("replay", "spec.yaml", "--times", "0"), "is no count"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    raychaos: Command, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    (tmp_path / "none.yaml").write_text("cluster: {kind: sim}\n")
    (tmp_path / "fine.yaml").write_text("- {fault: kill_node, target: oldest, on: {progress_percent: 30}}\n")
    code, _, err = raychaos(*words)
    assert code == cli.EXIT_USAGE
    assert says in err


def test_ctrl_c_keeps_the_best_so_far(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    code = "from tests.test_replay import *; sim.Cloud = ForgetfulCloud; cli.main(['shrink', 'spec.yaml'])"
    shrinking = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert shrinking.stderr is not None
    told = ""
    for line in shrinking.stderr:
        told += line
        if "removing" in line:
            shrinking.send_signal(signal.SIGINT)
            break
    out, err = shrinking.communicate(timeout=60)
    assert shrinking.returncode == cli.EXIT_INTERRUPTED, told + err
    assert "interrupted; this is the smallest so far. To go on: raychaos shrink spec.yaml --store runs" in out
    [directory] = (tmp_path / "runs").glob("shrunk-*")
    assert not json.loads((directory / "shrunk.json").read_text())["finished"]
