"""The job finishes, with faults as without."""

from __future__ import annotations

from chaos.checker import Judgement, Verdict
from chaos.checkers.facts import Blow, Facts
from chaos.checkers.property import Property
from chaos.events import RunSealed, StacksDumped, WorkloadFinished, WorkloadStarted
from chaos.history import Record


class JobCompletes(Property):
    """The workload's driver ended by itself and well; or clearly and soon, of what it was not expected to survive.

    Assumes that the engine ends a driver at the spec's deadline and records that as `hung`, that a driver ended by
    Ctrl-C is recorded as `interrupted`, and that survival is expected rightly. After a fault that the job is not
    expected to survive it is to fail, with an error and within the bounds' `failure_s`. That it completes all the same
    is right too; that it hangs never is.
    """

    name = "job_completes"

    def judge(self, facts: Facts) -> Verdict:
        """Fails when the job hung, or failed and was not to; inconclusive when it never began or was not let to end."""
        started = facts.history.first(WorkloadStarted)
        finished = facts.history.last(WorkloadFinished)
        sealed = facts.history.last(RunSealed)
        if finished is None:
            if started and sealed and sealed[1].reason == "deadline":
                took_s = sealed[0].t_s - started[0].t_s
                return self.verdict(
                    "fail",
                    f"the job had not ended at the run's deadline, after {took_s:.1f} s",
                    [started[0], sealed[0]],
                    measured=took_s,
                    bound=facts.deadline_s,
                    unit="s",
                )
            what = "the job's end was not recorded" if started else "the job never began"
            return self.verdict("inconclusive", what, [started[0]] if started else [])
        record, event = finished
        evidence = [record] if started is None else [started[0], record]
        took = None if started is None else record.t_s - started[0].t_s
        after = "" if took is None else f" after {took:.1f} s"
        if event.outcome == "interrupted" or (event.outcome == "failed" and facts.cut):
            return self.verdict(
                "inconclusive", f"the job was ended from outside{after}", evidence, measured=took, unit="s"
            )
        if event.outcome == "hung":
            dumped = [r for r, _ in facts.history.of(StacksDumped)]
            return self.verdict(
                "fail",
                f"the job had not ended at the run's deadline{after}",
                [*evidence, *dumped],
                measured=took,
                bound=facts.deadline_s,
                unit="s",
            )
        if facts.felled is not None:
            return self._felled(facts, facts.felled, record, event)
        if event.outcome == "failed":
            reason = event.error.strip().splitlines()
            return self.verdict(
                "fail",
                f"the job failed{after}: {reason[-1] if reason else 'no error was given'}",
                evidence,
                measured=took,
                unit="s",
            )
        if started is None:
            return self.verdict("inconclusive", "the job ended well, but its beginning was not recorded", evidence)
        if started[1].rows_total == 0:
            return self.verdict("inconclusive", "the job had no rows to compute", evidence)
        told = f", though {facts.blow.name} was expected to end it" if facts.blow else ""
        return self.verdict(
            "pass", f"the job ended well{after}{told}", evidence, measured=took, bound=facts.deadline_s, unit="s"
        )

    def _felled(self, facts: Facts, blow: Blow, ended: Record, event: WorkloadFinished) -> Verdict:
        took_s = max(0.0, ended.t_s - blow.due.t_s)
        bound_s = facts.bounds.failure_s
        said = event.error.strip().splitlines()
        clear = bool(said) and took_s <= bound_s
        judgement: Judgement = "pass" if clear else "fail"
        summary = (
            f"the job failed, as expected of {blow.name}, {'within' if clear else 'but only after'} {took_s:.1f} s:"
            f" {said[0] if said else 'no error was given'}"
        )
        return self.verdict(judgement, summary, [blow.due, ended], measured=took_s, bound=bound_s, unit="s")
