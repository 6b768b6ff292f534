"""Bugs that Ray had are found by running the releases that had them, and not in those that were mended."""

from __future__ import annotations

import pytest

from tests.quality.known_bugs import BUGS, KnownBug, Lacking, lacking, lacking_with, table, versions


@pytest.mark.releases
@pytest.mark.slow
@pytest.mark.parametrize("version", versions(BUGS))
def test_a_release_has_the_bugs_that_it_is_known_for(version: str) -> None:
    bugs = {bug.name: bug for bug in versions(BUGS)[version]}
    for name, lacks in lacking_with(version, list(bugs.values()), print).items():
        bug = bugs[name]
        assert bug.shown(lacks) if version == bug.last else bug.absent(lacks), f"{name}: {lacks}"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_ray_that_is_installed_has_none_of_them(bug: KnownBug) -> None:
    assert bug.absent(lacking(bug))


def test_a_bug_is_shown_by_its_property_and_by_what_is_logged() -> None:
    bug = next(one for one in BUGS if one.says)
    log = (f"AssertionError: {bug.says}",)
    assert bug.shown(Lacking(("no_overshoot", bug.fails), log))
    assert not bug.shown(Lacking((bug.fails,), ()))
    assert not bug.shown(Lacking((), log))
    assert not bug.absent(Lacking((), log))
    assert not bug.absent(Lacking((bug.fails,), ()))
    assert bug.absent(Lacking(("no_overshoot",), ("AssertionError: another",)))


def test_each_release_is_run_once_for_all_its_bugs() -> None:
    each = versions(BUGS)
    assert sum(len(bugs) for bugs in each.values()) == 2 * len(BUGS)
    assert list(each)[:2] == [BUGS[0].last, BUGS[0].fixed]


def test_the_table_has_a_row_for_each() -> None:
    rows = table(BUGS).splitlines()[2:]
    assert [row.split(" | ")[2:4] for row in rows] == [[bug.last, bug.fixed] for bug in BUGS]
