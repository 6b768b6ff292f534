"""No update of the autoscaler ends in an exception."""

from __future__ import annotations

import re
from bisect import bisect_right

from chaos.checker import Verdict
from chaos.checkers.facts import Facts, in_time
from chaos.checkers.property import Property
from chaos.events import AutoscalerLogged, ClusterSampled, NodeLaunching
from chaos.history import Record

# How the log names an update's exception; and those that only say that somebody else did not answer.
_OF_UPDATE = re.compile(r"ERROR autoscaler\.py\S* -- (?P<what>.*)")
_NO_ANSWER = re.compile(
    r"(?:GET|POST|PUT|DELETE) /|no answer|RpcError|UNAVAILABLE|DEADLINE_EXCEEDED|[Dd]eadline [Ee]xceeded"
    r"|[Tt]imed? ?out|[Ff]ailed to connect|[Cc]onnection (?:refused|reset)|ConnectionError|AuthenticationError"
    r"|HTTPError: (?:429|5\d\d) "
)
_SILENCE_S = 10.0


class UpdatesSucceed(Property):
    """Ray's autoscaler never raises an exception from its update.

    The production loop catches nearly everything, logs it, reports no state and goes on: what the update was about is
    not done, again and again. Assumes that the log of the autoscaler was followed; where nodes were launched and none
    of its lines was read, nothing is known. An update that fails because the Cloud or the GCS did not answer, or with
    HTTP status 429 or 5xx, is none: that is told by the text of its exception, or by the GCS being silent in the
    samples around it. No fault excuses any other: nothing that a cloud answers may break the loop.
    """

    name = "updates_succeed"

    def judge(self, facts: Facts) -> Verdict:
        """Fails on any exception from an update but of a call that was not answered."""
        if facts.cluster.autoscaler == "v1":
            return self.verdict("pass", "not applicable: the autoscaler v1 logs its exceptions in another way")
        samples = in_time(facts.history.of(ClusterSampled))
        if not any(sample.reachable for _, sample in samples):
            return self.verdict("inconclusive", "the cluster was not sampled")
        launched = [record for record, _ in facts.history.of(NodeLaunching)]
        if launched and facts.history.first(AutoscalerLogged) is None:
            return self.verdict("inconclusive", "nodes were launched, and the autoscaler's log was not read", launched)
        times = [record.t_s for record, _ in samples]
        silent = [not sample.reachable for _, sample in samples]
        failed: list[tuple[Record, str]] = []
        for record, event in in_time(facts.history.of(AutoscalerLogged)):
            found = _OF_UPDATE.search(event.text) if event.about == "error" else None
            if found is None or record.t_s > facts.watched_to_s or _NO_ANSWER.search(found["what"]):
                continue
            begin = bisect_right(times, record.t_s - _SILENCE_S) - 1
            end = bisect_right(times, record.t_s + _SILENCE_S)
            if not any(silent[max(begin, 0) : end]):
                failed.append((record, found["what"]))
        if failed:
            first, what = failed[0]
            told = f"{len(failed)} update(s) of the autoscaler raised, the first at {first.t_s:.1f} s: {what}"
            evidence = [record for record, _ in failed]
            return self.verdict("fail", told, evidence, measured=float(len(failed)), bound=0.0, unit="updates")
        told = "no update of the autoscaler raised an exception of its own"
        ends = [samples[0][0], samples[-1][0]]
        return self.verdict("pass", told, ends, measured=0.0, bound=0.0, unit="updates")
