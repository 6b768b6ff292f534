"""What the autoscaler keeps grows only with what happens."""

from __future__ import annotations

import re

from chaos.checker import Verdict
from chaos.checkers.facts import Facts
from chaos.checkers.instance_log import InstanceProperty, Row
from chaos.events import ConfigChanged, NodeJoined, NodeLaunchFailed, NodeLaunching, NodeStarted

_UNASKED = re.compile(r"There are workers to be deleted from|409 Client Error")


class StateStaysBounded(InstanceProperty):
    """The autoscaler makes no more rows than there are instances asked for, failed, or come back.

    Ray never deletes a row, so what makes rows under a load that does not change fills its memory and slows each
    update. A launch explains a row, and so does one that failed (also one that Ray's KubeRay provider did not ask for,
    because pods were still to be deleted, or whose edit conflicted with another), and an instance or a raylet that came
    back; an edit of the configuration explains as many as the cluster may have, and so does an autoscaler that starts
    again; it also makes one for each dead node that the GCS remembers, and these are not counted. Beyond that as many
    rows are allowed as the cluster may have workers, twice: of launches that were cancelled before they were made, and
    of demand that came and went.
    """

    name = "state_stays_bounded"
    needs_new = True

    def judge_rows(self, facts: Facts, found: tuple[Row, ...]) -> Verdict:
        """Fails on more new rows than that."""
        new = [
            row
            for row in found
            if not row.steps[0].before and row.steps[0].t_s <= facts.watched_to_s and not _of_the_dead(row)
        ]
        history = facts.history
        asked = len(history.of(NodeLaunching))
        failed = sum(event.count for _, event in history.of(NodeLaunchFailed))
        back = _repeated([event.node for _, event in history.of(NodeStarted)])
        back += _repeated([event.node for _, event in history.of(NodeJoined)])
        clusters = [facts.cluster, *(cluster for _, cluster in facts.edits)]
        most = max(max(cluster.max_workers, 1) for cluster in clusters)
        again = max(row.autoscaler for row in found) - 1
        unasked = sum(
            row.status == "ALLOCATION_FAILED" and _UNASKED.search(row.steps[-1].why) is not None for row in new
        )
        bound = 1 + asked + failed + unasked + back + again * (most + 1) + most * (2 + len(history.of(ConfigChanged)))
        told = f"{len(new)} rows made for {asked} launches, {failed} failed ones and {back} returns"
        return self.verdict(
            "fail" if len(new) > bound else "pass",
            told,
            [row.steps[0].record for row in new[-5:]],
            measured=float(len(new)),
            bound=float(bound),
            unit="rows",
        )


def _of_the_dead(row: Row) -> bool:
    """Whether it was made for a node that the GCS remembers as dead, as an autoscaler that starts again makes them."""
    later = [step for step in row.steps if step.after != "ALLOCATED"]
    return bool(later) and later[0].after == "RAY_STOPPED"


def _repeated(names: list[str]) -> int:
    return len(names) - len(set(names))
