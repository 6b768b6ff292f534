"""The command line. It and the pytest plugin are the only places that know the catalogues."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shlex
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from chaos import commands
from chaos.arguments import parser_for
from chaos.errors import ChaosError, ClusterError, ExceptionGroup, InvalidSpec
from chaos.exit_codes import (
    EXIT_FAIL,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_MACHINE,
    EXIT_OF,
    EXIT_PASS,
    EXIT_USAGE,
)
from chaos.finish import Departure
from chaos.sim.loop import run_in_virtual_time
from chaos.spec import Catalogue, RunSpec

if TYPE_CHECKING:
    from chaos.release import Release

# Tests that `raychaos shrink` wrote name the codes by this module.
__all__ = [
    "EXIT_FAIL",
    "EXIT_INCONCLUSIVE",
    "EXIT_INTERRUPTED",
    "EXIT_MACHINE",
    "EXIT_OF",
    "EXIT_PASS",
    "EXIT_USAGE",
    "catalogue",
    "main",
]


def catalogue() -> Catalogue:
    """All faults and workloads there are."""
    import faults
    import workloads

    return Catalogue(faults=faults.ALL, workloads=workloads.ALL)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and exits with its code."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    typed = sys.argv[1:] if arguments is None else list(arguments)
    options = parser_for(tuple(catalogue().workloads)).parse_args(typed)
    try:
        code = _dispatch(options, typed)
    except InvalidSpec as error:
        code = _complain(error, EXIT_USAGE)
    except ChaosError as error:
        code = _complain(error, EXIT_MACHINE)
    except ExceptionGroup as group:
        code = max(_complain(error, EXIT_MACHINE) for error in group.exceptions)
    except KeyboardInterrupt:  # where nothing was going on that had to be healed
        _tell("interrupted")
        code = EXIT_INTERRUPTED
    except Exception:  # noqa: BLE001 -- a bug of ours, or of the machine: never to be taken for a failed property
        traceback.print_exc()
        code = EXIT_MACHINE
    sys.exit(code)


def _complain(error: Exception, code: int) -> int:
    print(f"raychaos: error: {str(error) or repr(error)}", file=sys.stderr)
    return code


def _dispatch(options: argparse.Namespace, typed: Sequence[str]) -> int:
    known = catalogue()
    store = Path(options.store) if "store" in options else Path("runs")
    command = options.command
    departure = Departure()
    if command == "run":
        wish = commands.SpecWish(
            spec=options.spec,
            cluster=options.cluster,
            workload=options.workload,
            schedule=options.schedule,
            seed=options.seed,
            overrides=tuple(options.set),
            calibration=options.calibration,
            provider=options.provider,
        )
        spec = wish.resolve(known)
        if options.provider and spec.cluster.kind != commands.TWIN:
            raise InvalidSpec(f"--provider is of the twin, not of a {spec.cluster.kind} cluster: use --cluster sim")
        if options.ray is not None or options.try_ray:
            return _run_on_releases(options, spec, store)
        if spec.cluster.kind == commands.TWIN:
            from chaos.twin import refuse_beyond_model, run_twin  # it brings Ray with it, which takes a second

            _refuse_warmth(options)
            refuse_beyond_model(spec)
            return _interruptible(
                lambda: _run(run_twin(spec, store=store), as_json=options.json),
                departure,
                run=run_in_virtual_time,
            )
        return _interruptible(
            lambda: _run(
                commands.run(
                    spec,
                    store=store,
                    name=options.name,
                    keep=options.keep,
                    rebaseline=options.rebaseline,
                    departure=departure,
                ),
                as_json=options.json,
            ),
            departure,
        )
    if command == "soak":
        return _soak(options, known, store, departure)
    if command == "up":
        wish = commands.SpecWish(spec=options.spec, cluster=options.cluster, overrides=tuple(options.set))
        return _interruptible(
            lambda: _print(commands.up(wish, known, name=options.name, departure=departure)), departure
        )
    if command == "down":
        return _interruptible(lambda: _print(commands.down(options.names, everything=options.all)), departure)
    if command == "ps":
        return _interruptible(lambda: _print(commands.ps(as_json=options.json)), departure)
    if command == "heal":
        return _interruptible(lambda: _heal(commands.heal()), departure)
    if command == "doctor":
        return _interruptible(lambda: _print(commands.doctor(known, as_json=options.json)), departure)
    if command == "schema":
        _say(commands.schema(known))
        return EXIT_PASS
    if command == "fuzz":
        return _fuzz(options, known, store)
    if command in ("replay", "shrink"):
        return _again(options, typed, known, store, departure)
    if command == "compare":
        return _compare(options, store)
    if command == "calibrate":
        from chaos.twin_commands import calibrate_from

        _say(calibrate_from(options.runs, store=store, into=Path(options.into)))
        return EXIT_PASS
    results = commands.recorded(options.run, store)
    if command == "check":
        _say(results.json if options.json else results.headline)
        return EXIT_OF[results.judgement]
    _say(results.report.rstrip("\n"))
    return EXIT_PASS


def _run_on_releases(options: argparse.Namespace, spec: RunSpec, store: Path) -> int:
    """A run of the twin with each release of Ray that was asked for."""
    from chaos.release_runs import run_with_each
    from chaos.twin import refuse_beyond_model  # it brings Ray with it, which takes a second

    if spec.cluster.kind == commands.TWIN:
        _refuse_warmth(options)
        refuse_beyond_model(spec)
    done = run_with_each(spec, _releases(options, spec.cluster.kind), store=store, tell=_tell)
    if done.runs:
        _say(done.json if options.json else done.text)
    return EXIT_INTERRUPTED if done.interrupted else EXIT_OF[done.judgement]


def _releases(options: argparse.Namespace, cluster: str) -> list[Release]:
    """The releases of `--ray`, each fetched where it is not kept.

    Raises:
        InvalidSpec: the kind of cluster has a Ray of its own, or there is no such release.
        ClusterError: one cannot be fetched, or does not work here.
    """
    from chaos.release import obtain, versions_asked

    wanted = versions_asked(options.ray, try_any=options.try_ray, cluster=cluster)
    return [obtain(version, _tell) for version in wanted]


def _soak(options: argparse.Namespace, known: Catalogue, store: Path, departure: Departure) -> int:
    """Weeks in virtual time; Ctrl-C ends them with what was found."""
    from chaos.report.soaking import SoakLine
    from chaos.soak import WINDOW_S, soak  # it brings Ray with it, which takes a second
    from chaos.twin import refuse_beyond_model
    from chaos.weather import Menu

    wish = commands.SpecWish(
        spec=options.spec or str(commands.soak_spec()),
        cluster=options.cluster,
        seed=options.seed,
        overrides=tuple(options.set),
    )
    spec = wish.resolve(known)
    if spec.cluster.kind != commands.TWIN:
        raise InvalidSpec(f"a soak is in virtual time, which --cluster {spec.cluster.kind} has not: use --cluster sim")
    refuse_beyond_model(spec)
    weather = Menu(spec, window_s=min(WINDOW_S, options.duration))

    async def work() -> int:
        soaked = await soak(spec, weather, for_s=options.duration, store=store, view=SoakLine())
        _say(soaked.json if options.json else soaked.text)
        return EXIT_INTERRUPTED if soaked.interrupted else EXIT_OF[soaked.judgement]

    return _interruptible(work, departure, run=run_in_virtual_time)


def _fuzz(options: argparse.Namespace, known: Catalogue, store: Path) -> int:
    """A campaign; Ctrl-C and SIGTERM end it with what was found, and once more at once."""
    if options.ray is not None or options.try_ray:
        return _fuzz_on_releases(options, store)
    from chaos.fuzz import command as fuzzing  # it brings Ray with it, which takes a second

    ask = fuzzing.Ask(
        cluster=options.cluster,
        providers=_names(options.provider),
        budget_s=options.budget,
        max_runs=options.max_runs,
        seed=options.seed,
        workers=options.workers,
        on=options.on,
        faults=_names(options.faults),
        not_faults=_names(options.not_faults) or (),
        workloads=_names(options.workloads),
        search=options.search,
        mode=options.mode,
        stop_on=options.stop_on,
        allow_missing=options.allow_missing,
        store=store,
        corpus=None if options.corpus is None else Path(options.corpus),
    )
    with _ending_by_signal():
        state, wish = fuzzing.fuzz(ask, known)
    _say(fuzzing.summary(state, wish))
    if options.json is not None:
        _write_json(options.json, fuzzing.as_json(state, wish))
    if state.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_MACHINE if state.gave_up else EXIT_OF[state.tally.judgement]


@contextlib.contextmanager
def _ending_by_signal() -> Iterator[None]:
    """Ctrl-C and SIGTERM interrupt what is done, which heals and stops then; once more leaves at once."""
    pressed = False

    def on_signal(number: int, frame: object) -> None:  # noqa: ARG001 -- it is called with both
        nonlocal pressed
        again, pressed = pressed, True
        with contextlib.suppress(
            BrokenPipeError, RuntimeError
        ):  # nobody may be left to hear it, or a line be half said
            left = "leaving at once: what was started ends by itself within half a minute"
            _tell(left if again else "interrupted: healing and stopping; once more to leave at once")
        if again:
            os._exit(EXIT_INTERRUPTED)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fuzz_on_releases(options: argparse.Namespace, store: Path) -> int:
    """The same campaign with each release of Ray that was asked for."""
    from chaos.release_campaigns import hunt_with_each

    if options.on is not None:
        raise InvalidSpec(f"--on {options.on}: a cluster has one Ray, the one installed here: leave it out with --ray")
    each = _releases(options, options.cluster)
    given = [
        ("--cluster", options.cluster),
        ("--provider", options.provider),
        ("--budget", None if options.budget is None else f"{options.budget:f}s"),
        ("--max-runs", options.max_runs),
        ("--workers", options.workers),
        ("--faults", options.faults),
        ("--not-faults", options.not_faults),
        ("--workloads", options.workloads),
        ("--search", options.search),
        ("--mode", options.mode),
        ("--stop-on", options.stop_on),
        ("--store", options.store),
    ]
    arguments = [word for flag, value in given if value is not None for word in (flag, str(value))]
    done = hunt_with_each(
        each,
        [*arguments, *["--allow-missing"] * options.allow_missing],
        seed=secrets.randbelow(10**6) if options.seed is None else options.seed,
        corpus=Path(options.corpus) if options.corpus else store / "corpus",
        tell=_tell,
    )
    _say(done.text)
    if options.json is not None:
        _write_json(options.json, done.json)
    return done.code


def _write_json(path: str, text: str) -> None:
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ClusterError(f"--json {path}: cannot be written: {error.strerror}") from error


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name for part in text.split(",") if (name := part.strip()))


def _again(
    options: argparse.Namespace, typed: Sequence[str], known: Catalogue, store: Path, departure: Departure
) -> int:
    """Runs a run again: to see how often it fails, or to make its schedule smaller."""
    from chaos import replay, shrinking  # they bring Ray with them, which takes a second
    from chaos.installed import ray_version
    from chaos.release_reruns import again_with, release_for
    from chaos.shrink import ShrinkPlan

    wish = commands.SpecWish(
        spec=options.spec,
        cluster=options.cluster,
        workload=options.workload,
        seed=options.seed,
        overrides=tuple(options.set),
    )
    what = replay.subject(options.run, wish, known, store=store)
    release = release_for(what, given=options.run, ray=options.ray, try_ray=options.try_ray, tell=_tell)
    if release.version != ray_version():
        code, told = again_with(release, typed)
        if told:
            _say(told.rstrip("\n"))
        return code
    flags = release.flags if options.ray is not None else ()

    async def replayed() -> int:
        tally = await replay.replay(
            what, store=store, times=options.times, until_confident=options.until_confident, tell=_tell
        )
        _say(replay.conclusion(what, tally))
        if tally.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_MACHINE if tally.error is not None else EXIT_OF[tally.judgement_of(options.failure)]

    async def shrunk() -> int:
        done = await shrinking.shrink(
            what,
            store=store,
            plan=ShrinkPlan(seconds=options.budget, runs=options.max_runs),
            anew=options.anew,
            tell=_tell,
            live=sys.stderr.isatty(),
            flags=flags,
        )
        _say(shrinking.conclusion(what, done, again=_again_by(options, flags)))
        return EXIT_INTERRUPTED if done.interrupted else EXIT_PASS

    return _interruptible(replayed if options.command == "replay" else shrunk, departure)


def _again_by(options: argparse.Namespace, flags: Sequence[str]) -> str:
    """The command that goes on with a shrinking: the same once more."""
    given = [("--spec", options.spec), ("--cluster", options.cluster), ("--workload", options.workload)]
    given += [("--seed", options.seed), *(("--set", override) for override in options.set), ("--store", options.store)]
    words = [word for flag, value in given if value is not None for word in (flag, str(value))]
    return shlex.join(["raychaos", "shrink", options.run, *words, *flags])


def _compare(options: argparse.Namespace, store: Path) -> int:
    from chaos.twin_commands import compare_runs

    picture = None if options.picture is None else Path(options.picture)
    told = compare_runs(
        *options.runs, store=store, tolerance_s=options.tolerance, picture=picture, as_json=options.json
    )
    _say(told)
    return EXIT_PASS


async def _run(work: Awaitable[commands.Finished], *, as_json: bool) -> int:
    finished = await work
    told = [finished.results.headline, f"report: {finished.directory.report}", f"picture: {finished.directory.picture}"]
    _say(finished.results.json if as_json else "\n".join(told))
    return EXIT_INTERRUPTED if finished.interrupted else EXIT_OF[finished.results.judgement]


async def _print(work: Awaitable[str]) -> int:
    text = await work
    if text:
        _say(text)
    return EXIT_PASS


async def _heal(work: Awaitable[commands.Healing]) -> int:
    healing = await work
    if healing.told or not healing.failures:
        _say("\n".join(healing.told) or "nothing was left behind")
    for failure in healing.failures:
        _tell(f"error: {failure}")
    return EXIT_MACHINE if healing.failures else EXIT_PASS


def _say(text: str) -> None:
    """Prints, unless the reader has gone; that changes no exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse_warmth(options: argparse.Namespace) -> None:
    """The twin is started anew each time.

    Raises:
        InvalidSpec: a cluster is to be kept, or one that was.
    """
    if options.name or options.keep:
        raise InvalidSpec("the twin lives as long as its run: leave --name and --keep out with --cluster sim")


def _interruptible(
    work: Callable[[], Coroutine[Any, Any, int]],
    departure: Departure,
    *,
    run: Callable[[Callable[[], Coroutine[Any, Any, int]]], int] = lambda main: asyncio.run(main()),
) -> int:
    """Runs until done.

    The first Ctrl-C or SIGTERM lets the work heal and close; the second carries out the departure and leaves; the third
    leaves without.
    """

    async def leave() -> None:
        try:
            _tell("leaving at once")
            _tell(await departure.leave())
        finally:
            os._exit(EXIT_INTERRUPTED)

    async def wait() -> int:
        task = asyncio.ensure_future(work())
        loop = asyncio.get_running_loop()
        leaving: asyncio.Task[None] | None = None
        pressed = False

        def on_signal() -> None:
            nonlocal leaving, pressed
            if leaving is not None:
                os._exit(EXIT_INTERRUPTED)
            elif pressed:
                leaving = loop.create_task(leave())
            else:
                pressed = True
                _tell("interrupted: healing and stopping; once more to leave at once")
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        try:
            return await task
        except asyncio.CancelledError:
            return EXIT_INTERRUPTED

    return run(wait)


def _tell(text: str) -> None:
    print(f"raychaos: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
