"""What `raychaos fuzz --ray` does: the same campaign with each release of Ray, and what failed side by side."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.errors import ClusterError, InvalidSpec
from chaos.exit_codes import (
    EXIT_FAIL,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_MACHINE,
    EXIT_PASS,
    EXIT_USAGE,
)
from chaos.release import Release, Tell
from chaos.release_runs import RAYCHAOS, told_by
from chaos.report.table import table
from chaos.signature import Signature


@dataclass(frozen=True)
class ReleaseCampaigns:
    """What each campaign wrote as JSON, and what it said; fewer than asked for where the user interrupted."""

    seed: int
    found: tuple[dict[str, Any], ...]
    told: tuple[str, ...]
    code: int

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The failures of all of them, each with its release as `ray`."""
        return [failure for campaign in self.found for failure in campaign["failures"]]

    @property
    def text(self) -> str:
        """What each said; of several, then how often each kind of failure came with each release."""
        if len(self.found) < 2:
            return "\n".join(self.told)
        parts = [f"Ray {one['ray']}\n{told.rstrip()}" for one, told in zip(self.found, self.told, strict=True)]
        names = dict.fromkeys(_name(failure) for failure in self.failures)
        hits = {(_name(failure), failure["ray"]): failure["hits"] for failure in self.failures}
        rows = [(name, *(str(hits.get((name, one["ray"]), "–")) for one in self.found)) for name in names]
        rows.append(("runs", *(str(one["runs"]) for one in self.found)))
        header = ("failure, in so many runs", *(f"Ray {one['ray']}" for one in self.found))
        return "\n\n".join([*parts, "\n".join(table(header, rows, right=range(1, len(header))))])

    @property
    def json(self) -> str:
        """`releases`, what each campaign found, and `failures`, those of all, each with its release as `ray`."""
        return json.dumps({"seed": self.seed, "failures": self.failures, "releases": self.found}, indent=1)


def hunt_with_each(
    each: Sequence[Release], arguments: Sequence[str], *, seed: int, corpus: Path, tell: Tell
) -> ReleaseCampaigns:
    """The campaign of these arguments of `raychaos fuzz`, with one release after the other.

    Each has a corpus of its own in `corpus`: what fails with one release and passes with the next is not forgotten.

    Raises:
        InvalidSpec: the arguments cannot be meant; what is wrong has been shown.
        ClusterError: a campaign could not be carried out; what it said has been shown.
    """
    found: list[dict[str, Any]] = []
    said: list[str] = []
    codes = []
    with tempfile.TemporaryDirectory(prefix="raychaos-releases-") as scratch:
        for release in each:
            tell(f"with Ray {release.version}:")
            written = Path(scratch) / f"{release.version}.json"
            own = ["--seed", str(seed), "--corpus", str(corpus / f"ray-{release.version}"), "--json", str(written)]
            code, told = told_by(release, [*RAYCHAOS, "fuzz", *arguments, *own])
            if written.exists():
                found.append({"ray": release.version, **json.loads(written.read_text(encoding="utf-8"))})
                said.append(told)
            codes.append(code)
            if code == EXIT_INTERRUPTED:
                break
            if code == EXIT_USAGE:
                raise InvalidSpec("the campaign cannot be meant so; what is wrong with it is said above")
            if not written.exists():
                raise ClusterError(f"the campaign with Ray {release.version} ended with exit code {code}")
    by_weight = (EXIT_INTERRUPTED, EXIT_MACHINE, EXIT_FAIL, EXIT_INCONCLUSIVE)
    worst = next((code for code in by_weight if code in codes), EXIT_PASS)
    return ReleaseCampaigns(seed, tuple(found), tuple(said), worst)


def _name(failure: dict[str, Any]) -> str:
    return Signature.model_validate(failure["signature"]).text
