"""The command line. It and the pytest plugin are the only places that know the catalogues."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn

from chaos import __version__, commands
from chaos.checker import Judgement
from chaos.errors import ChaosError, ExceptionGroup, InvalidSpec
from chaos.finish import Departure
from chaos.sim.loop import run_in_virtual_time
from chaos.spec import Catalogue

EXIT_PASS, EXIT_FAIL, EXIT_USAGE, EXIT_INCONCLUSIVE, EXIT_MACHINE, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_OF: dict[Judgement, int] = {"pass": EXIT_PASS, "fail": EXIT_FAIL, "inconclusive": EXIT_INCONCLUSIVE}

_EPILOG = """\
exit codes:
  0    every property held
  1    a property failed
  2    wrong usage, or a spec that cannot be meant
  3    inconclusive: a fault had no effect, the machine was starved, evidence is missing, the run was aborted
  4    the machine or the cluster could not do it
  130  interrupted; faults are healed and the history is sealed

examples:
  raychaos run                                     the demo: a killed node, late launches, a choked node
  raychaos run --cluster compose                   the same in containers, with network faults
  raychaos run --cluster sim                       the same in a model, in a second or two
  raychaos run my.yaml --set workload.rows=5000 --seed 7
  raychaos up && raychaos run && raychaos down     keep a cluster warm between runs
  raychaos check runs/latest                       judge a recorded history again
"""


def catalogue() -> Catalogue:
    """All faults and workloads there are."""
    import faults
    import workloads

    return Catalogue(faults=faults.ALL, workloads=workloads.ALL)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and exits with its code."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options = _parser().parse_args(arguments)
    try:
        code = _dispatch(options)
    except InvalidSpec as error:
        code = _complain(error, EXIT_USAGE)
    except ChaosError as error:
        code = _complain(error, EXIT_MACHINE)
    except ExceptionGroup as group:
        code = max(_complain(error, EXIT_MACHINE) for error in group.exceptions)
    except Exception:  # noqa: BLE001 -- a bug of ours, or of the machine: never to be taken for a failed property
        traceback.print_exc()
        code = EXIT_MACHINE
    sys.exit(code)


def _complain(error: Exception, code: int) -> int:
    print(f"raychaos: error: {str(error) or repr(error)}", file=sys.stderr)
    return code


def _dispatch(options: argparse.Namespace) -> int:
    known = catalogue()
    store = Path(options.store) if "store" in options else Path("runs")
    command = options.command
    departure = Departure()
    if command == "run":
        wish = commands.Wish(
            spec=options.spec,
            cluster=options.cluster,
            workload=options.workload,
            schedule=options.schedule,
            seed=options.seed,
            overrides=tuple(options.set),
        )
        spec = wish.resolve(known)
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
    if command == "up":
        wish = commands.Wish(spec=options.spec, cluster=options.cluster, overrides=tuple(options.set))
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
    results = commands.recorded(options.run, store)
    if command == "check":
        _say(results.json if options.json else results.headline)
        return EXIT_OF[results.judgement]
    _say(results.report.rstrip("\n"))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raychaos",
        description="Chaos testing for autoscaled Ray clusters: inject faults, record everything, prove what held.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"raychaos {__version__}")
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = parsers.add_parser(
        "run",
        help="run a job under faults and judge it",
        description="Starts a cluster (or uses a warm one), measures a fault-free baseline once, runs the job under "
        "the schedule, and judges the recorded history. Without SPEC it runs the demo.",
    )
    _add_spec(run)
    run.add_argument("--workload", metavar="NAME", help=f"one of: {', '.join(catalogue().workloads)}")
    run.add_argument("--schedule", metavar="FILE", help="take the injections from this file instead")
    run.add_argument("--seed", type=int, metavar="N", help="seed of all random choices; same seed, same choices")
    run.add_argument("--name", help="name of the cluster; a warm one of this name is used")
    run.add_argument("--keep", action="store_true", help="keep the cluster for the next run; end it with `down`")
    run.add_argument("--rebaseline", action="store_true", help="measure the fault-free baseline anew")
    _add_store(run)
    run.add_argument("--json", action="store_true", help="print the verdict as JSON on standard output")

    up = parsers.add_parser(
        "up",
        help="start a cluster and keep it warm",
        description="Starts a cluster that stays until `down`, and says how to connect to it.",
    )
    _add_spec(up)
    up.add_argument("--name", default="main", help="its name (default: main)")

    down = parsers.add_parser("down", help="end warm clusters")
    down.add_argument("names", nargs="*", metavar="NAME", help="which (default: the only one)")
    down.add_argument("--all", action="store_true", help="all of them")

    ps = parsers.add_parser("ps", help="list clusters and their nodes")
    ps.add_argument("--json", action="store_true", help="as JSON")

    check = parsers.add_parser("check", help="judge a recorded run again")
    report = parsers.add_parser("report", help="print the report of a recorded run")
    for each in (check, report):
        each.add_argument("run", metavar="RUN", help="a run directory, or a run's name in the store")
        _add_store(each)
    check.add_argument("--json", action="store_true", help="as JSON")

    parsers.add_parser("schema", help="print the JSON Schema of a spec, for editors")
    parsers.add_parser("heal", help="undo whatever dead runs left behind")
    doctor = parsers.add_parser("doctor", help="say what this machine can do, and which faults are available")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", nargs="?", metavar="SPEC.yaml", help="what to run; `raychaos schema` describes it")
    parser.add_argument("--cluster", choices=commands.KINDS, help="kind of cluster (default: the spec's)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="override a field, e.g. cluster.max_workers=2"
    )


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", default="runs", metavar="DIR", help="where run directories lie (default: runs)")


if __name__ == "__main__":
    main()
