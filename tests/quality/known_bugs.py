"""Bugs that Ray's autoscaler v2 had: each a schedule that fails with the last release that has it, and no later one.

`python -m tests.quality.known_bugs` runs them with those releases, and writes the table of docs/quality.md. For each
release there is one process, which judges the schedules it is given and tells what failed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.baseline import measure
from chaos.checkers import evaluate
from chaos.events import AutoscalerLogged
from chaos.release import obtain
from chaos.release_runs import told_by
from tests.quality.runs import NOT_OF_THE_AUTOSCALER, history_of

_PAGE = Path(__file__).parents[2] / "docs" / "quality.md"
_TABLE = re.compile(r"(?<=<!-- known -->\n).*(?=<!-- /known -->)", re.DOTALL)
_CHILD = "from tests.quality.known_bugs import tell; tell()"

# Timeouts that pass within a run, and little slack: nothing in a model is slow by chance.
_LIMITS = """  idle_timeout_s: 4
  ray_environment:
    RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S: "30"
    RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S: "60"
    RAY_AUTOSCALER_RECONCILE_TERMINATING_STATUS_TIMEOUT_S: "6"
    RAY_AUTOSCALER_RECONCILE_RAY_STOP_REQUESTED_STATUS_TIMEOUT_S: "6"
"""
_ONE_TYPE = "  max_workers: 8\n  node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 8}}\n"
_TWO_TYPES = """  max_workers: 6
  node_types:
    gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 3}
    big: {resources: {CPU: 4, GPU: 2}, max_workers: 3}
"""
_ROOM_TO_SPARE = """  max_workers: 5
  node_types:
    gpu: {resources: {CPU: 2, GPU: 1}, min_workers: 1, max_workers: 2}
    big: {resources: {CPU: 4, GPU: 2}, max_workers: 2}
"""


@dataclass(frozen=True)
class Lacking:
    """What a run lacks: the properties of the autoscaler that failed, and the errors that it logged."""

    failed: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class KnownBug:
    """A bug with the last release of Ray that has it and the first that has not, and a schedule that shows it.

    `fails` is the property that the last buggy release does not have under the schedule, `says` what its log holds.
    """

    name: str
    reference: str
    told: str
    last: str
    fixed: str
    cluster: str
    stages: str
    faults: tuple[str, ...]
    fails: str
    says: str = ""

    @property
    def fault_free(self) -> str:
        """The specification without faults."""
        job = f"workload: {{name: task_bursts, stages: [{self.stages}]}}\ndeadline_s: 150\nbounds: {{slack_s: 3}}\n"
        return f"cluster:\n{self.cluster}{_LIMITS}{job}schedule: []\n"

    @property
    def specification(self) -> str:
        """The specification with its schedule."""
        lines = "".join(f"  - {{fault: {fault}}}\n" for fault in self.faults)
        return self.fault_free.replace("schedule: []\n", f"schedule:\n{lines}")

    def shown(self, lacks: Lacking) -> bool:
        """Whether a run shows the bug."""
        return self.fails in lacks.failed and (not self.says or self._said(lacks))

    def absent(self, lacks: Lacking) -> bool:
        """Whether a run shows nothing of the bug; of other bugs it may."""
        return self.fails not in lacks.failed and not (self.says and self._said(lacks))

    def _said(self, lacks: Lacking) -> bool:
        return any(self.says in error for error in lacks.errors)


BUGS = (
    KnownBug(
        "limit_lowered_while_starting",
        "[#50868](https://github.com/ray-project/ray/issues/50868), "
        "[#53938](https://github.com/ray-project/ray/pull/53938)",
        "`max_workers` is lowered while nodes start: every update fails until they have joined",
        last="2.47.1",
        fixed="2.48.0",
        cluster=_ONE_TYPE,
        stages="{tasks: 6, batches: 60}",
        faults=(
            "slow_join, delay_s: 12, count: 6, at_s: 0, duration_s: 30",
            "change_limits, max_workers: 2, at_s: 4, duration_s: 15",
        ),
        fails="updates_succeed",
        says="Invalid status transition from ALLOCATED to RAY_STOP_REQUESTED",
    ),
    KnownBug(
        "limit_lowered_while_queued",
        "[#59219](https://github.com/ray-project/ray/issues/59219), "
        "[#59550](https://github.com/ray-project/ray/pull/59550)",
        "`max_workers` is lowered while launches are queued: every update fails until they have begun",
        last="2.53.0",
        fixed="2.54.0",
        cluster=f"  upscaling_speed: 0\n{_ONE_TYPE}",
        stages="{tasks: 6, batches: 60}",
        faults=("change_limits, max_workers: 2, at_s: 2.2, duration_s: 10",),
        fails="updates_succeed",
        says="Invalid status transition from QUEUED to RAY_STOP_REQUESTED",
    ),
    KnownBug(
        "gone_after_failed_termination",
        "[#60566](https://github.com/ray-project/ray/issues/60566)",
        "an instance whose termination has failed is gone: every update fails from then on",
        last="2.54.1",
        fixed="2.55.0",
        cluster=_ONE_TYPE,
        stages="{tasks: 3, batches: 30}, {tasks: 0, pause_s: 6}, {tasks: 8, batches: 80}",
        faults=(
            "stale_listing, on: {event: workload.demand, nth: 2}, after_s: 4, duration_s: 16",
            "change_limits, max_workers: 4, on: {event: workload.demand, nth: 2}, after_s: 8, duration_s: 16",
        ),
        fails="instances_accounted",
        says="Invalid status transition from TERMINATION_FAILED to TERMINATED",
    ),
    KnownBug(
        "restarted_node_ended",
        "[#63424](https://github.com/ray-project/ray/pull/63424)",
        "a node's Ray is restarted: the row of its former life ends the instance that it runs on again",
        last="2.56.1",
        fixed="2.57.0",
        cluster=_ROOM_TO_SPARE,
        stages="{tasks: 3, batches: 40}, {tasks: 0, pause_s: 20}, {tasks: 8, batches: 64}",
        faults=("restart_node, target: oldest, at_s: 6",),
        fails="ends_have_reasons",
    ),
    KnownBug(
        "launch_errors_of_two_types_mixed_up",
        "[#65223](https://github.com/ray-project/ray/issues/65223), "
        "[#65299](https://github.com/ray-project/ray/pull/65299)",
        "launches of two node types fail at once: one of the two is waited for until its request times out",
        last="2.58.1",
        fixed="2.59.0",
        cluster=_TWO_TYPES,
        stages="{tasks: 9, batches: 90}",
        faults=("fail_launch, reason: quota_exceeded, at_s: 0, duration_s: 1.5",),
        fails="scale_up_converges",
    ),
)


def lacking(bug: KnownBug) -> Lacking:
    """What a run of the bug's schedule lacks with the Ray of this process."""
    history = history_of(bug.specification, baseline=measure(history_of(bug.fault_free, baseline=None)))
    failed = [verdict.name for verdict in evaluate(history) if verdict.verdict == "fail"]
    told = dict.fromkeys(event.text for _, event in history.of(AutoscalerLogged) if event.about == "error")
    return Lacking(tuple(name for name in failed if name not in NOT_OF_THE_AUTOSCALER), tuple(told))


def tell() -> None:
    """Prints what runs of the bugs named on the command line lack, as JSON; for the process that started this one."""
    named = {bug.name: bug for bug in BUGS}
    found = {name: lacking(named[name]) for name in sys.argv[1:]}
    print(json.dumps({name: [one.failed, one.errors] for name, one in found.items()}))


def lacking_with(version: str, bugs: Sequence[KnownBug], say: Callable[[str], None]) -> dict[str, Lacking]:
    """What runs of the bugs' schedules lack with a release of Ray, by the bugs' names."""
    release = obtain(version, say)
    code, told = told_by(release, ["-c", _CHILD, *(bug.name for bug in bugs)])
    assert code == 0, f"Ray {version}: exit code {code}"
    return {name: Lacking(tuple(failed), tuple(errors)) for name, (failed, errors) in json.loads(told).items()}


def versions(bugs: Sequence[KnownBug]) -> dict[str, list[KnownBug]]:
    """The bugs to be run with each release: its last buggy one, and its first fixed one."""
    wanted: dict[str, list[KnownBug]] = {}
    for bug in bugs:
        for version in (bug.last, bug.fixed):
            wanted.setdefault(version, []).append(bug)
    return wanted


def table(bugs: Sequence[KnownBug]) -> str:
    """The bugs as a table in Markdown."""
    head = "| bug | in Ray | last release with it | first without | property that fails |\n|---|---|---|---|---|\n"
    rows = [f"| {bug.told} | {bug.reference} | {bug.last} | {bug.fixed} | `{bug.fails}` |\n" for bug in bugs]
    return head + "".join(rows)


def main() -> None:
    """Runs all of them with their releases; writes the table where each shows as it should."""
    wrong = []
    for version, bugs in versions(BUGS).items():
        for name, lacks in lacking_with(version, bugs, print).items():
            bug = next(bug for bug in bugs if bug.name == name)
            print(f"Ray {version}: {name}: {', '.join(lacks.failed) or 'nothing failed'}", flush=True)
            if not (bug.shown(lacks) if version == bug.last else bug.absent(lacks)):
                wrong.append(f"{name} with {version}")
    if wrong:
        raise SystemExit(f"not as known: {'; '.join(wrong)}")
    _PAGE.write_text(_TABLE.sub(lambda _: table(BUGS), _PAGE.read_text()))


if __name__ == "__main__":
    main()
