"""Every row is in the output exactly once, with the right content."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.checkers.facts import Facts
from chaos.checkers.property import Property
from chaos.events import RowsVerified, WorkloadStarted


class RowsExactlyOnce(Property):
    """The output holds each row once, equal to a fault-free computation.

    Assumes that the oracle compared the complete output after the driver had ended, with counts that are complete.
    Rows computed twice but written once are right: Ray promises results, not single execution. A job that failed as was
    expected owes none.
    """

    name = "rows_exactly_once"

    def judge(self, facts: Facts) -> Verdict:
        """Fails on any missing, duplicated, wrong or unexpected row; inconclusive without a comparison."""
        found = facts.history.last(RowsVerified)
        if found is None and facts.felled is not None:
            return self.not_owed("no row is", facts.felled)
        if found is None:
            how = {"": "did not end", "ok": "ended well"}.get(facts.outcome, f"ended as {facts.outcome!r}")
            return self.verdict("inconclusive", f"the job {how}, and its output was not compared")
        record, rows = found
        counts = {
            "missing": rows.missing_count,
            "duplicated": rows.duplicated_count,
            "wrong": rows.wrong_count,
            "unexpected": rows.unexpected_count,
        }
        bad = sum(counts.values())
        if bad == rows.missing_count > 0 and facts.outcome != "ok":
            return self.verdict(
                "inconclusive",
                f"{bad} of {rows.rows_expected} rows are missing, but the job did not end well, so none was promised",
                [record],
            )
        if bad:
            told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            ids = [*rows.missing, *rows.duplicated, *rows.wrong][:5]
            first = f" (first: {', '.join(map(str, ids))})" if ids else ""
            return self.verdict(
                "fail",
                f"of {rows.rows_expected} rows: {told}{first}",
                [record],
                measured=float(bad),
                bound=0.0,
                unit="rows",
            )
        started = facts.history.first(WorkloadStarted)
        if rows.rows_expected == 0:
            return self.verdict("inconclusive", "no rows were expected, so none could be wrong", [record])
        if rows.rows_found != rows.rows_expected:
            return self.verdict(
                "fail",
                f"the output holds {rows.rows_found} rows, {rows.rows_expected} were expected",
                [record],
                measured=float(abs(rows.rows_found - rows.rows_expected)),
                bound=0.0,
                unit="rows",
            )
        if started is not None and started[1].rows_total not in (0, rows.rows_expected):
            return self.verdict(
                "inconclusive",
                f"the oracle expected {rows.rows_expected} rows, the job {started[1].rows_total}",
                [started[0], record],
            )
        return self.verdict(
            "pass",
            f"all {rows.rows_expected} rows exactly once, contents equal within {rows.tolerance:g}"
            f" (largest difference {rows.max_error:.2g})",
            [record],
            measured=0.0,
            bound=0.0,
            unit="rows",
        )
