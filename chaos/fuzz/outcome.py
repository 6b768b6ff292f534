"""What came of one run of a campaign."""

from __future__ import annotations

from typing import Literal, TypeAlias

from chaos.checker import Judgement
from chaos.signature import Signature
from chaos.value import Value

Source: TypeAlias = Literal["drawn", "corpus", "confirmation", "baseline"]


class Outcome(Value):
    """The judgement on one run, and of a failed one its signature, its specification, and where it is kept.

    A `baseline` is the fault-free run of a world, told only where it failed or could not serve; `number` is then that
    of the world's first run, and its runs were not made. `trimmed` is the failure's specification with every injection
    left out that it does not need, found in `trim_runs` more runs; `entry` the corpus's entry that was run again.
    A `confirmation` is a run on another kind of cluster of what failed `of` that signature. A `broken` run could not
    be made, nor, where it is a baseline, those of its world: it stands for as many as were asked for. Of a `guided` one
    the schedule was made from what earlier runs came to, so it is no random sample.
    """

    number: int
    source: Source = "drawn"
    judgement: Judgement
    cluster: str = "sim"
    injections: int = 0
    signature: Signature | None = None
    summary: str = ""
    spec: str = ""
    trimmed: str = ""
    trimmed_injections: int = 0
    trim_runs: int = 0
    kept: str = ""
    entry: str = ""
    of: Signature | None = None
    broken: bool = False
    stands_for: int = 1
    guided: bool = False
