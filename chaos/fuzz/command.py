"""What `raychaos fuzz` does: settles what is wished for, shows how it goes, and tells what was found."""

from __future__ import annotations

import asyncio
import json
import platform
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from chaos import __version__
from chaos.cluster_spec import Provider
from chaos.clusters.compose_command import kernel_release
from chaos.commands import KINDS
from chaos.errors import InvalidSpec
from chaos.examination import Kernel
from chaos.forms import provision
from chaos.fuzz.campaign import Limits, State, hunt
from chaos.fuzz.corpus import CLEAN_RUNS, Corpus
from chaos.fuzz.log import Log
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.tally import Failure
from chaos.fuzz.trial import TWIN, Wish, able
from chaos.installed import ray_version
from chaos.kernel import examine_kernel
from chaos.spec import Catalogue
from chaos.spelling import unknown_name
from chaos.strategies.world import ClusterKind

BUDGET_S = 600.0
# What one run takes at least; on real clusters with the start of a cluster and a fault-free run.
_LEAST_S: Mapping[str, float] = {"sim": 5.0, "local": 60.0, "compose": 120.0}
_SHOW_EVERY_S = 5.0
_MOST_REASONS = 5
_LIVE_WORKERS = 3
_LIVE_INJECTIONS = 4
_LIVE_HORIZON_S = 20.0


@dataclass(frozen=True)
class Ask:
    """What the user asked for on the command line."""

    cluster: str = "sim"
    providers: Sequence[str] | None = None
    budget_s: float | None = None
    max_runs: int | None = None
    seed: int | None = None
    workers: int = 1
    on: str | None = None
    faults: Sequence[str] | None = None
    not_faults: Sequence[str] = ()
    workloads: Sequence[str] | None = None
    search: Literal["random", "guided"] = "random"
    mode: Literal["fast", "exact"] = "fast"
    stop_on: Literal["first", "never"] = "never"
    allow_missing: bool = False
    store: Path = Path("runs")
    corpus: Path | None = None


def settled(
    ask: Ask, catalogue: Catalogue, *, look: Callable[[str], Kernel | None] = lambda _: None
) -> tuple[Wish, Limits, Mapping[str, str]]:
    """What is tried, until when; and which faults are left out, with the reason.

    `look` examines the kernel that nodes of a kind of cluster run on; None where nothing is known of it.

    Raises:
        InvalidSpec: something cannot be meant, or the cluster cannot do it.
    """
    cluster, confirm_on = _kinds(ask.cluster)
    if ask.workers < 1:
        raise InvalidSpec(f"--workers {ask.workers}: at least 1")
    if cluster != TWIN and ask.workers > 1:
        raise InvalidSpec(f"--workers {ask.workers}: on {cluster} one cluster runs at a time; leave it out")
    if ask.on is not None and (cluster != TWIN or confirm_on is not None):
        raise InvalidSpec(f"--on {ask.on}: a Ray cluster makes runs of the twin only; leave it out, or --cluster sim")
    if ask.on is not None and "://" in ask.on:
        raise InvalidSpec(f"--on {ask.on}: give host:port of the cluster's GCS, on a machine of that cluster")
    if ask.search == "guided" and cluster != TWIN:
        raise InvalidSpec(f"--search guided: on {cluster} no run repeats; leave it out, or search on sim")
    if ask.mode == "exact" and cluster != TWIN:
        raise InvalidSpec(f"--mode exact: {cluster} has no modes, only the twin has; leave it out, or search on sim")
    if ask.max_runs is not None and ask.max_runs < 1:
        raise InvalidSpec(f"--max-runs {ask.max_runs}: at least 1")
    least_s = max(_LEAST_S[kind] for kind in (cluster, confirm_on) if kind)
    if ask.budget_s is not None and ask.budget_s < least_s:
        raise InvalidSpec(
            f"--budget of {ask.budget_s:g} s is too small for one run on {confirm_on or cluster}; "
            f"give at least {least_s:g}s"
        )
    wish = Wish(
        cluster=cluster,
        confirm_on=confirm_on,
        search=ask.search,
        mode=ask.mode,
        seed=secrets.randbelow(10**6) if ask.seed is None else ask.seed,
        faults=(),
        workloads=_known("workload", ask.workloads, catalogue.workloads),
    )
    if wish.kinds != (TWIN,):
        brief = {"max_workers": _LIVE_WORKERS, "max_injections": _LIVE_INJECTIONS, "horizon_s": _LIVE_HORIZON_S}
        wish = wish.model_copy(update={"brief": True, **brief})
    names, left_out, providers = _faults(ask, wish.kinds, catalogue, look)
    endless = ask.max_runs is None and ask.budget_s is None
    budget_s = BUDGET_S if endless else ask.budget_s
    limits = Limits(budget_s, ask.max_runs, ask.stop_on, ask.workers, ask.on)
    return wish.model_copy(update={"faults": names, "providers": providers}), limits, left_out


def _kinds(text: str) -> tuple[ClusterKind, Literal["local", "compose"] | None]:
    """The kind of cluster that is searched, and the one that confirms what is found there."""
    match [part.strip() for part in text.split(",")]:
        case ["sim" | "local" | "compose" as kind]:
            return kind, None
        case ["sim", "local" | "compose" as live]:
            return "sim", live
    raise InvalidSpec(
        f"--cluster {text}: one of {', '.join(KINDS)}; or sim,local or sim,compose, to search on the twin and confirm "
        "what is found on the other"
    )


def _faults(
    ask: Ask, kinds: Sequence[ClusterKind], catalogue: Catalogue, look: Callable[[str], Kernel | None]
) -> tuple[tuple[str, ...], Mapping[str, str], tuple[Provider, ...]]:
    """The faults to try; those left out, with why some kind, or each provider, cannot have them; the providers."""
    if ask.faults is not None and not ask.faults:
        raise InvalidSpec("--faults is empty: there is nothing to inject; name some, or leave it out for all")
    named = _known("fault", ask.faults, catalogue.faults)
    unwanted = _known("fault", ask.not_faults, catalogue.faults) if ask.not_faults else ()
    wanted = tuple(name for name in named if name not in unwanted)
    unable: dict[str, str] = {}
    for kind in kinds:
        unable = {**_unmakeable(wanted, kind, catalogue, look(kind)), **unable}
    for kind in (kind for kind in kinds if kind != TWIN):
        unable = {**able(wanted, kind, catalogue), **unable}
    each: dict[Provider, Mapping[str, str]] = {
        name: able(wanted, "sim", catalogue, provider=name) if TWIN in kinds else {} for name in _providers(ask, kinds)
    }
    first = next(iter(each.values()))
    unable = {**{name: why for name, why in first.items() if all(name in one for one in each.values())}, **unable}
    told = "; ".join(f"{name}: {why}" for name, why in unable.items())
    if unable and ask.faults is not None and not ask.allow_missing:
        raise InvalidSpec(f"{told}; leave them out, or let them be left out with --allow-missing")
    left = tuple(name for name in wanted if name not in unable)
    if not left:
        raise InvalidSpec(f"no fault is left to try on {ask.cluster}: {told}")
    return left, unable, tuple(name for name, one in each.items() if not one.keys() >= set(left))


def _providers(ask: Ask, kinds: Sequence[ClusterKind]) -> tuple[Provider, ...]:
    """What the twin launches from: all there is, but where a real cluster is to confirm what is found."""
    known = get_args(Provider) if kinds == (TWIN,) else ("cloud",)
    if ask.providers is not None and not ask.providers:
        raise InvalidSpec(f"--provider is empty; name some of {', '.join(known)}, or leave it out for all")
    for name in ask.providers or ():
        if name not in known:
            raise InvalidSpec(unknown_name("provider", name, known))
    return tuple(name for name in known if ask.providers is None or name in ask.providers)


def _unmakeable(names: Sequence[str], kind: str, catalogue: Catalogue, kernel: Kernel | None) -> Mapping[str, str]:
    """Of the faults named, those the kernel has no form of, and why."""
    if kernel is None:
        return {}
    lacking = {name: provision(kind, catalogue.faults[name], kernel).lacking for name in names}
    return {name: f"kernel {kernel.release} lacks {', '.join(what)}" for name, what in lacking.items() if what}


def _kernel_under(kind: str) -> Kernel | None:
    """This machine's kernel where containers run on it; the faults of other kinds take nothing of a kernel."""
    if kind != "compose" or asyncio.run(kernel_release()) != platform.release():
        return None
    return examine_kernel()


def _known(what: str, names: Sequence[str] | None, catalogue: Mapping[str, Any]) -> tuple[str, ...]:
    for name in names or ():
        if name not in catalogue:
            raise InvalidSpec(unknown_name(what, name, catalogue))
    return tuple(dict.fromkeys(catalogue if names is None else names))


def fuzz(ask: Ask, catalogue: Catalogue) -> tuple[State, Wish]:
    """A campaign, shown on standard error while it goes on.

    Raises:
        InvalidSpec: something cannot be meant, or the corpus is of another version.
        ClusterError: the machine cannot do it, or another campaign of the same wish runs.
    """
    wish, limits, left_out = settled(ask, catalogue, look=_kernel_under)
    corpus = Corpus(ask.corpus or ask.store / "corpus", raychaos=__version__)
    log = Log(ask.store, wish, ray=ray_version())
    where = " and ".join(wish.kinds)
    _tell(f"seed {wish.seed}; {len(wish.faults)} faults, {len(left_out)} that {where} cannot have; {log.path}")
    shown_s = -_SHOW_EVERY_S

    def show(state: State, outcome: Outcome | None) -> None:
        nonlocal shown_s
        if outcome is not None and outcome.cluster != TWIN:
            _tell(f"{state.elapsed_s:.0f} s: {_run_line(outcome)}")
        elif time.monotonic() - shown_s >= _SHOW_EVERY_S:
            shown_s = time.monotonic()
            _tell(_line(state))

    state = hunt(wish, limits, catalogue, log=log, corpus=corpus, ray=ray_version(), show=show, tell=_tell)
    return state, wish


def _run_line(outcome: Outcome) -> str:
    """One run on a real cluster."""
    if outcome.source == "confirmation":
        assert outcome.of is not None
        what = f"{outcome.of.text} again on {outcome.cluster}"
    elif outcome.entry:
        what = outcome.entry
    else:
        what = f"{'world of run' if outcome.source == 'baseline' else 'run'} {outcome.number}"
    told = outcome.signature.text if outcome.signature else outcome.judgement
    why = f" ({outcome.summary.splitlines()[0]})" if outcome.judgement == "inconclusive" and outcome.summary else ""
    return f"{what}: {told}{why}"


def _line(state: State) -> str:
    tally = state.tally
    rate = tally.runs / state.elapsed_s if state.elapsed_s else 0.0
    return (
        f"{state.elapsed_s:.0f} s: {tally.runs} runs ({rate:.2f} a second), {tally.passed} passed, "
        f"{tally.unsure} inconclusive, {len(tally.failures)} kinds of failure"
    )


def _counted(what: str, reasons: Mapping[str, int]) -> list[str]:
    """The reasons that were given most often, and how many others there were."""
    found = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{what}, {count} times: {why}" for why, count in found[:_MOST_REASONS]]
    if others := found[_MOST_REASONS:]:
        lines.append(f"{what}, {sum(count for _, count in others)} times: for {len(others)} other reasons")
    return lines


def summary(state: State, wish: Wish) -> str:
    """What a campaign found, for people."""
    tally = state.tally
    lines = [_line(state)]
    if state.resumed_runs:
        lines.append(f"{state.resumed_runs} of the runs were made in earlier sittings")
    for failure in sorted(tally.failures.values(), key=lambda failure: -failure.hits):
        lines += [
            "",
            f"{failure.signature.text}: fails in {tally.rate_of(failure).text}; first after "
            f"{failure.found_after_runs} runs, {failure.found_after_s:.0f} s; {failure.size} injection(s)",
            f"  {failure.first.summary.splitlines()[0]}",
            *([f"  raychaos report {failure.smallest.kept}"] if failure.smallest.kept else []),
            *([f"  {_confirmed(failure, wish.confirm_on)}"] if wish.confirm_on else []),
        ]
    lines += [""] * bool(tally.failures)
    lines += _counted("inconclusive", tally.unsure_for)
    lines += _counted("could not be made", tally.broken_for)
    lines += _counted("no baseline", tally.worlds_lost)
    if state.replayed:
        failing = sum(outcome.judgement == "fail" for outcome in state.replayed)
        lines.append(f"corpus: {failing} of {len(state.replayed)} entries still fail")
    lines += [f"corpus: {name} passed {CLEAN_RUNS} times and is dropped" for name in state.dropped]
    if wish.confirm_on and (only := tally.found("twin only")):
        lines.append(
            f"disagreements: fails on the twin only, so the twin or what judges it may be wrong: "
            f"{'; '.join(failure.signature.text for failure in only)}"
        )
    if state.unreadable:
        lines.append(f"{state.unreadable} lines of the log of earlier sittings could not be read and are lost")
    if tally.broken:
        lines.append(
            f"{tally.broken} runs could not be made and are left out of the rates; the same command with "
            f"--seed {wish.seed} tries them again"
        )
    lines.append(tally.confidence)
    if state.gave_up:
        lines.append(f"given up: {state.gave_up}")
    if state.interrupted:
        lines.append(f"interrupted; the same command with --seed {wish.seed} goes on where it was")
    return "\n".join(lines)


def _confirmed(failure: Failure, kind: str) -> str:
    """What real clusters say of a failure of the twin."""
    found = failure.confirmation
    words = [f"on {kind}: {found.finding}"]
    if found.rate is not None:
        words.append(f"fails of the same property in {found.rate.text}")
    words += [f"{count} of {name}" for name, count in found.otherwise.most_common()]
    words += [f"{count} inconclusive: {why}" for why, count in found.unsure.most_common()]
    words += [f"raychaos report {found.kept}"] * bool(found.kept)
    return "; ".join(words)


def as_json(state: State, wish: Wish) -> str:
    """What a campaign found, for machines."""
    tally = state.tally
    data: dict[str, object] = {
        "seed": wish.seed,
        "cluster": wish.cluster,
        "runs": tally.runs,
        "passed": tally.passed,
        "inconclusive": tally.unsure,
        "not_made": tally.broken,
        "search": wish.search,
        "runs_drawn_at_random": tally.unguided,
        "unseen_below95": tally.unseen_below,
        "seconds": round(state.elapsed_s, 1),
        "interrupted": state.interrupted,
        "gave_up": state.gave_up or None,
        "failures": tally.to_data(ray=ray_version(), confirmed_on=wish.confirm_on),
    }
    if wish.confirm_on:
        data["disagreements"] = [failure.signature.model_dump() for failure in tally.found("twin only")]
    return json.dumps(data, indent=1)


def _tell(text: str) -> None:
    print(f"raychaos: {text}", file=sys.stderr, flush=True)
