"""Parts of a campaign that need no cluster: rates, trimming, tallies, the corpus, the log, and what is wished for."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import faults
import workloads
from chaos.errors import ClusterError, InvalidSpec
from chaos.fuzz.campaign import State, _confirmations
from chaos.fuzz.command import Ask, as_json, settled, summary
from chaos.fuzz.corpus import CLEAN_RUNS, Corpus, Entry
from chaos.fuzz.log import Line, Log
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.tally import Tally
from chaos.fuzz.trial import Wish, world
from chaos.fuzz.trim import trim
from chaos.fuzz.worker import Confirm
from chaos.rate import unseen_below
from chaos.schedule import Schedule
from chaos.signature import Signature
from chaos.spec import Catalogue, RunSpec
from workloads import BatchInference

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
WISH = Wish(seed=5, faults=("kill_node", "pause_node", "change_limits"), workloads=("task_bursts",))
LEAK = Signature(property="no_leaked_nodes", exception="KeyError")


def schedule(*names: str) -> Schedule:
    lines = [{"fault": "kill_node", "target": "random", "at_s": 1.0, "id": name} for name in names]
    return Schedule.from_data(lines, faults.ALL)


def failing(number: int = 0, *, size: int = 3, signature: Signature = LEAK) -> Outcome:
    spec = RunSpec(workload=BatchInference(), schedule=schedule(*(f"i{n}" for n in range(size))))
    return Outcome(
        number=number, judgement="fail", signature=signature, summary="w1 leaked", injections=size, spec=spec.to_yaml()
    )


def entry(*, size: int = 1, signature: Signature = LEAK, raychaos: str = "1") -> Entry:
    return Entry(
        raychaos=raychaos, ray="2.60.0", signature=signature, spec=failing(size=size, signature=signature).spec
    )


# -- rates ----------------------------------------------------------------------------------------------------


def test_the_rule_of_three() -> None:
    assert unseen_below(1000) == pytest.approx(3 / 1000, rel=0.01)
    assert unseen_below(0) == 1.0


# -- trimming -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fails", "left"),
    [
        (lambda _: True, {"i4"}),
        (lambda ids: "i3" in ids, {"i3"}),
        (lambda ids: {"i2", "i4"} <= ids, {"i2", "i4"}),
        (lambda ids: len(ids) >= 3, {"i2", "i3", "i4"}),
    ],
)
def test_what_is_not_needed_is_left_out(fails: Callable[[set[str]], bool], left: set[str]) -> None:
    def run(tried: Schedule) -> Signature | None:
        assert tried.injections
        return LEAK if fails({injection.id for injection in tried.injections}) else None

    smallest, runs = trim(schedule("i1", "i2", "i3", "i4"), LEAK, run)
    assert {injection.id for injection in smallest.injections} == left
    assert runs <= 10


def test_what_another_waits_for_is_not_left_out_alone() -> None:
    waiting = {"fault": "kill_node", "target": "w1", "id": "then", "on": {"event": "fault.injected", "injection": "i1"}}
    whole = Schedule.from_data([*schedule("i1").to_data(), waiting], faults.ALL)
    smallest, _ = trim(whole, LEAK, lambda s: LEAK if any(each.id == "then" for each in s.injections) else None)
    assert smallest == whole


# -- tallies --------------------------------------------------------------------------------------------------


def test_replays_of_what_failed_before_are_no_runs_of_the_campaign() -> None:
    tally = Tally()
    for _ in range(5):
        tally.take(failing(-1).model_copy(update={"source": "corpus", "entry": "known"}), after_s=1.0)
    for number in range(10):
        tally.take(Outcome(number=number, judgement="pass"), after_s=2.0)
    (known,) = tally.failures.values()
    assert (known.hits, tally.runs, tally.rate_of(known).estimate) == (0, 10, 0.0)


def test_failures_are_grouped_and_the_smallest_is_told() -> None:
    tally = Tally()
    assert tally.take(Outcome(number=0, judgement="pass"), after_s=1.0) is False
    assert tally.take(failing(1, size=4), after_s=2.0) is True
    assert tally.take(failing(2, size=2), after_s=3.0) is False
    assert tally.take(failing(3, signature=Signature(property="no_overshoot")), after_s=4.0) is True
    (leak, overshoot) = tally.failures.values()
    assert (leak.hits, leak.found_after_runs, leak.found_after_s, leak.size) == (2, 2, 2.0, 2)
    assert overshoot.found_after_runs == 4
    assert tally.rate_of(leak).estimate == 0.5
    (told, _) = tally.to_data(ray="2.60.0", confirmed_on=None)
    assert told["schedule"] == failing(size=4).spec
    assert told["shrunk_schedule"] == failing(size=2).spec
    assert (told["runs_to_find"], told["seconds_to_find"], told["rate"], told["ray"]) == (2, 2.0, 0.5, "2.60.0")


def test_a_baseline_that_fails_is_a_failure_and_no_run() -> None:
    tally = Tally()
    tally.take(Outcome(number=0, source="baseline", judgement="inconclusive", summary="too small"), after_s=0.0)
    tally.take(failing(0).model_copy(update={"source": "baseline"}), after_s=1.0)
    assert tally.runs == 0
    assert tally.worlds_lost == {"too small": 1}
    assert list(tally.failures) == [LEAK]


def test_all_that_could_not_be_made_is_counted() -> None:
    tally = Tally()
    tally.take(failing(0), after_s=1.0)
    lost: dict[str, Any] = {"judgement": "inconclusive", "summary": "full", "broken": True}
    tally.take(Outcome(number=1, **lost), after_s=2.0)
    tally.take(Outcome(number=16, source="baseline", stands_for=12, **lost), after_s=3.0)
    tally.take(Outcome(number=-1, source="confirmation", of=LEAK, cluster="local", **lost), after_s=4.0)
    assert (tally.broken, tally.broken_for) == (14, {"full": 14})
    assert (tally.runs, tally.failures[LEAK].confirmation.tried) == (1, 1)


def test_a_summary_tells_the_reasons_that_came_most_often() -> None:
    tally = Tally()
    for number, why in enumerate(["b", "a", "c", "c", "d", "e", "f", "g", "g", "g"]):
        tally.take(Outcome(number=number, judgement="inconclusive", summary=why), after_s=1.0)
    told = [line for line in summary(State(tally=tally), WISH).splitlines() if line.startswith("inconclusive")]
    assert told == [
        "inconclusive, 3 times: g",
        "inconclusive, 2 times: c",
        *(f"inconclusive, 1 times: {why}" for why in "abd"),
        "inconclusive, 2 times: for 2 other reasons",
    ]


def test_a_summary_says_what_so_many_runs_prove() -> None:
    state = State()
    for number in range(300):
        state.tally.take(Outcome(number=number, judgement="pass"), after_s=1.0)
    assert "not seen in these 300 runs comes in less than 0.99 %" in summary(state, WISH)
    assert "nothing can be said" in summary(State(), WISH)
    assert '"failures": []' in as_json(state, WISH)


# -- what is confirmed ----------------------------------------------------------------------------------------


def test_each_failure_is_confirmed_once_the_most_frequent_first_then_as_often_as_is_left() -> None:
    tally = Tally()
    rare, often, tried = (Signature(property=name) for name in ("rare", "often", "tried"))
    for number, signature in enumerate((rare, tried, often, tried, often, often)):
        tally.take(failing(number, signature=signature), after_s=1.0)
    tally.take(failing(6, signature=often, size=2), after_s=2.0)
    for _ in range(2):
        again = Outcome(number=-1, source="confirmation", judgement="pass", cluster="local", of=tried)
        tally.take(again, after_s=3.0)
    tasks = list(_confirmations(tally, 4))
    assert all(isinstance(task, Confirm) for task in tasks)
    assert [task.of.property for task in tasks if isinstance(task, Confirm)] == (
        ["often", "rare"] + ["often"] * 3 + ["tried"] * 2 + ["rare"] * 3
    )
    assert tasks[0] == Confirm(failing(signature=often, size=2).spec, often)


# -- the corpus -----------------------------------------------------------------------------------------------


def test_the_corpus_keeps_the_smallest_of_a_signature(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus", raychaos="1")
    assert corpus.entries() == ()
    assert corpus.keep(entry(size=3))
    assert not corpus.keep(entry(size=4))
    assert corpus.keep(entry(size=2))
    assert corpus.keep(entry(size=5, signature=Signature(property="no_overshoot")))
    assert [(one.signature.property, one.cluster) for one in corpus.entries()] == [
        ("no_leaked_nodes", "local"),
        ("no_overshoot", "local"),
    ]
    assert corpus.entries()[0] == entry(size=2)


def test_an_entry_is_dropped_after_clean_runs_in_a_row(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, raychaos="1")
    corpus.keep(entry())
    name = corpus.entries()[0].name
    for _ in range(CLEAN_RUNS - 1):
        assert not corpus.count(name, clean=True)
    assert not corpus.count(name, clean=False)
    assert corpus.entries()[0].clean_runs == 0
    assert [corpus.count(name, clean=True) for _ in range(CLEAN_RUNS)] == [False] * (CLEAN_RUNS - 1) + [True]
    assert corpus.entries() == ()
    assert not corpus.count(name, clean=True)


def test_an_entry_is_readable(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, raychaos="1")
    corpus.keep(entry())
    (path,) = tmp_path.glob("*.yaml")
    assert path.name.startswith("no-leaked-nodes-keyerror-")
    assert "  schedule:\n    injections:\n    - fault: kill_node\n" in path.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corpus: 2\n", "corpus format 2, not 1"),
        ("corpus: 1\n", "no entry of a corpus"),
        ("- 1\n", "no entry of a corpus"),
        ("{", "malformed YAML"),
    ],
)
def test_what_is_no_entry_is_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "strange.yaml").write_text(text)
    with pytest.raises(InvalidSpec, match=rf"strange\.yaml.*{message}"):
        Corpus(tmp_path, raychaos="1").entries()


def test_a_corpus_of_another_version_is_refused(tmp_path: Path) -> None:
    Corpus(tmp_path, raychaos="1").keep(entry())
    with pytest.raises(InvalidSpec, match="written by raychaos 1, this is 2"):
        Corpus(tmp_path, raychaos="2").entries()


def _keep_many(path: Path, first: int) -> None:
    corpus = Corpus(path, raychaos="1")
    for number in range(7):
        corpus.keep(entry(signature=Signature(property=f"p{first + number}")))


def test_the_corpus_is_safe_for_several_processes(tmp_path: Path) -> None:
    context = get_context("fork")
    crew = [context.Process(target=_keep_many, args=(tmp_path, first)) for first in (0, 3, 5)]
    for process in crew:
        process.start()
    for process in crew:
        process.join(60)
        assert process.exitcode == 0
    assert {one.signature.property for one in Corpus(tmp_path, raychaos="1").entries()} == {f"p{n}" for n in range(12)}


# -- the log --------------------------------------------------------------------------------------------------


def test_a_log_goes_on_after_a_line_that_was_cut_off(tmp_path: Path) -> None:
    log = Log(tmp_path, WISH, ray="2.60.0")
    first, second = Line(after_s=1.0, outcome=failing(0)), Line(after_s=2.0, outcome=failing(1))
    assert log.open() == ([], 0)
    log.write(first)
    log.close()
    with (log.path / "outcomes.jsonl").open("a") as file:
        file.write(second.model_dump_json()[:50])
    assert log.open() == ([first], 0)
    log.write(second)
    log.close()
    assert log.open() == ([first, second], 0)
    log.close()


def test_a_line_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    log = Log(tmp_path, WISH, ray="2.60.0")
    lines = [Line(after_s=float(number), outcome=failing(number)) for number in range(3)]
    log.open()
    for line in lines:
        log.write(line)
    log.close()
    path = log.path / "outcomes.jsonl"
    opening, first, _, last = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([opening, first, b"\xff\x00 spoilt", last, b""]))
    assert log.open() == ([lines[0], lines[2]], 1)
    log.close()
    assert log.open() == ([lines[0], lines[2]], 0)
    log.close()


def test_one_campaign_at_a_time_writes_a_log(tmp_path: Path) -> None:
    log, other = Log(tmp_path, WISH, ray="2.60.0"), Log(tmp_path, WISH, ray="2.60.0")
    log.open()
    with pytest.raises(ClusterError, match="another process writes it"):
        other.open()
    log.close()
    assert other.open() == ([], 0)
    other.close()


def test_another_wish_has_another_log(tmp_path: Path) -> None:
    other = WISH.model_copy(update={"faults": ("kill_node",)})
    assert Log(tmp_path, WISH, ray="2.60.0").path != Log(tmp_path, other, ray="2.60.0").path


def test_another_ray_has_another_log(tmp_path: Path) -> None:
    assert Log(tmp_path, WISH, ray="2.60.0").path != Log(tmp_path, WISH, ray="2.54.1").path


# -- which run is which ---------------------------------------------------------------------------------------


def test_a_run_is_a_function_of_the_wish_and_its_number() -> None:
    one, other = world(WISH, 3, KNOWN), world(WISH, 3, KNOWN)
    assert one.spec == other.spec
    assert [one.trial(number) for number in one.runs] == [other.trial(number) for number in other.runs]
    assert world(WISH, 4, KNOWN).spec != one.spec
    assert one.runs == range(48, 64)
    assert {i.fault.name for number in one.runs for i in one.trial(number).schedule.injections} <= set(WISH.faults)


# -- wishes ---------------------------------------------------------------------------------------------------


def test_without_options_all_that_the_cluster_can_do_is_tried() -> None:
    wish, limits, left_out = settled(Ask(seed=1), KNOWN)
    assert {*wish.faults, *left_out} == set(faults.ALL)
    assert "kill_node" in wish.faults
    assert "ShapesNetworks" in left_out["throttle_network"]
    assert set(wish.workloads) == set(workloads.ALL)
    assert (limits.budget_s, limits.max_runs, limits.workers) == (600.0, None, 1)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (Ask(cluster="docker"), "one of local, compose, sim; or sim,local or sim,compose"),
        (Ask(cluster="local,sim"), "one of local, compose, sim; or sim,local or sim,compose"),
        (Ask(cluster="local", workers=2), "on local one cluster runs at a time"),
        (Ask(cluster="sim,local", budget_s=20.0), "too small for one run on local; give at least 60s"),
        (Ask(cluster="sim,local", faults=("throttle_network",)), "throttle_network: it needs ShapesNetworks"),
        (Ask(faults=()), "--faults is empty"),
        (Ask(faults=("kill_nod",)), "kill_node"),
        (Ask(faults=("kill_node", "throttle_network")), r"throttle_network: it needs ShapesNetworks.*--allow-missing"),
        (Ask(faults=("throttle_network",), allow_missing=True), "no fault is left to try on sim"),
        (Ask(faults=("kill_node",), not_faults=("kill_node",)), "no fault is left to try"),
        (Ask(budget_s=1.0), "too small for one run on sim; give at least 5s"),
        (Ask(workers=0), "--workers 0: at least 1"),
        (Ask(max_runs=0), "--max-runs 0: at least 1"),
        (Ask(workloads=("batch",)), "unknown workload"),
        (Ask(providers=("kubray",)), "unknown provider 'kubray'.*kuberay"),
        (Ask(providers=()), "--provider is empty; name some of cloud, kuberay"),
        (Ask(providers=("cloud",), faults=("kill_operator",)), "kill_operator: it needs RunsOnKubeRay"),
    ],
)
def test_what_cannot_be_meant_is_refused(ask: Ask, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        settled(ask, KNOWN)


def test_named_faults_the_cluster_cannot_have_are_left_out_where_allowed() -> None:
    wish, _, left_out = settled(Ask(faults=("kill_node", "throttle_network"), allow_missing=True), KNOWN)
    assert (wish.faults, list(left_out)) == (("kill_node",), ["throttle_network"])


def test_worlds_have_the_providers_in_turn_and_only_those_that_can_have_a_fault_that_is_tried() -> None:
    wish, _, left_out = settled(Ask(seed=1), KNOWN)
    assert wish.providers == ("cloud", "kuberay")
    assert not {"kill_operator", "duplicate_launch"} & left_out.keys()
    worlds = [world(wish, number, KNOWN) for number in range(3)]
    assert [each.spec.cluster.twin.provider for each in worlds] == ["cloud", "kuberay", "cloud"]
    for number, tried, cannot in ((0, "duplicate_launch", "kill_operator"), (1, "kill_operator", "duplicate_launch")):
        drawn = {kind.kind.name for kind in worlds[number].plan.kinds}
        assert tried in drawn
        assert cannot not in drawn
    wish, _, _ = settled(Ask(faults=("kill_operator",)), KNOWN)
    assert wish.providers == ("kuberay",)
