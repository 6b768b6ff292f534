"""The comparison of guided and random search measures both, and tells what was not found."""

from __future__ import annotations

from tests.quality.bugs import BUGS
from tests.quality.search import SOUGHT, Compared, Searches, table


def test_both_ways_find_what_every_run_shows() -> None:
    bug = next(bug for bug in BUGS if bug.name == "idle_check_inverted")
    searches = Searches()
    assert (searches.drawn(bug, 1, 3), searches.guided(bug, 1, 3)) == (1, 1)


def test_what_is_sought_is_planted() -> None:
    assert set(SOUGHT) <= {bug.name for bug in BUGS}


def test_the_table_tells_medians_and_what_was_not_found() -> None:
    told = table([Compared("lost", drawn=(None, 8, None), guided=(3, None, 5))], 40)
    assert told.startswith("Of 3 seeds, at most 40 runs each:")
    assert "| `lost` | > 40 | 5 | > 40, 8, > 40 | 3, > 40, 5 |" in told
