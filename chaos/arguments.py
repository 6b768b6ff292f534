"""What may be typed: the commands of `raychaos` and their options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from chaos import __version__, commands
from chaos.comparison import TOLERANCE_S
from chaos.duration import seconds_of

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
  raychaos run --cluster sim --ray 2.48.0,2.54.1   the same with other releases of Ray, side by side
  raychaos run my.yaml --set workload.rows=5000 --seed 7
  raychaos up && raychaos run && raychaos down     keep a cluster warm between runs
  raychaos check runs/latest                       judge a recorded history again
  raychaos replay runs/latest --times 20           how often does it fail?
  raychaos shrink runs/latest --budget 20m         the smallest schedule that still fails
"""


def parser_for(workloads: Sequence[str]) -> argparse.ArgumentParser:
    """Knows every command; `workloads` are the names there are."""
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
    run.add_argument("--workload", metavar="NAME", help=f"one of: {', '.join(workloads)}")
    run.add_argument("--schedule", metavar="FILE", help="take the injections from this file instead")
    run.add_argument("--seed", type=int, metavar="N", help="seed of all random choices; same seed, same choices")
    run.add_argument(
        "--calibration", metavar="FILE", help="latencies of the twin, from `raychaos calibrate` (--cluster sim only)"
    )
    run.add_argument(
        "--provider",
        choices=("cloud", "kuberay"),
        help="what the twin launches nodes from: a cloud of machines, or KubeRay (--cluster sim only)",
    )
    _add_releases(run)
    run.add_argument("--name", help="name of the cluster; a warm one of this name is used")
    run.add_argument("--keep", action="store_true", help="keep the cluster for the next run; end it with `down`")
    run.add_argument("--rebaseline", action="store_true", help="measure the fault-free baseline anew")
    _add_store(run)
    run.add_argument("--json", action="store_true", help="print the verdict as JSON on standard output")

    fuzz = parsers.add_parser(
        "fuzz",
        help="search for schedules that fail",
        description="Draws clusters, workloads and schedules of faults, runs them one after the other, and tells which "
        "failed, each kind of failure with the smallest schedule that shows it.",
    )
    fuzz.add_argument(
        "--cluster", default="sim", metavar="KIND",
        help=f"one of {', '.join(commands.KINDS)} (default: sim, the twin); or sim,local or sim,compose: search on the "
        "twin, and confirm on the other what is found",
    )  # fmt: skip
    fuzz.add_argument(
        "--provider", metavar="NAME,…", help="what the twin launches from: cloud, kuberay (default: both, in turn)"
    )
    fuzz.add_argument(
        "--budget", type=_duration_s, metavar="TIME", help="how long: 90s, 10m, 1h (default: 10m, without --max-runs)"
    )
    fuzz.add_argument("--max-runs", type=int, metavar="N", help="how many runs at most")
    fuzz.add_argument("--seed", type=int, metavar="N", help="same seed, same runs; goes on where it was interrupted")
    _add_releases(fuzz)
    fuzz.add_argument("--workers", type=int, default=1, metavar="N", help="how many processes (default: 1)")
    fuzz.add_argument(
        "--on",
        metavar="ADDRESS",
        help="make the runs, --workers at a time, as tasks of the Ray cluster at host:port that this machine is in",
    )
    fuzz.add_argument("--faults", metavar="NAME,…", help="only these (default: all that the cluster can do)")
    fuzz.add_argument("--not-faults", metavar="NAME,…", help="not these")
    fuzz.add_argument("--workloads", metavar="NAME,…", help="only these (default: all)")
    fuzz.add_argument(
        "--search",
        choices=("random", "guided"),
        default="random",
        help="guided: on the twin, by what earlier runs of a world came to",
    )
    fuzz.add_argument(
        "--mode",
        choices=("fast", "exact"),
        default="fast",
        help="of the twin: with short cuts that take the same decisions; or Ray's code as it is, three times slower",
    )
    fuzz.add_argument("--stop-on", choices=("first", "never"), default="never", help="end with the first failure?")
    fuzz.add_argument("--allow-missing", action="store_true", help="leave out named faults the cluster cannot do")
    fuzz.add_argument("--json", metavar="FILE", help="also write what was found as JSON")
    fuzz.add_argument("--corpus", metavar="DIR", help="where failing runs are kept (default: STORE/corpus)")
    _add_store(fuzz)
    replay = parsers.add_parser(
        "replay",
        help="run a recorded run or a schedule again, and say how often it fails",
        description="Runs it again on one warm cluster, and gives the rate of each failure with its 95 % interval.",
    )
    _add_again(replay, workloads)
    often = replay.add_mutually_exclusive_group()
    often.add_argument("--times", type=_count, metavar="N", help="how often (default: 10; once with --cluster sim)")
    often.add_argument("--until-confident", action="store_true", help="until the 95 %% interval spans at most 0.3")

    replay.add_argument(
        "--failure", metavar="SIGNATURE",
        help="let the exit code speak of this failure alone: 1 if it is seen, 0 if every run passes, else 3",
    )  # fmt: skip

    shrink = parsers.add_parser(
        "shrink",
        help="find the smallest schedule that still shows a failure",
        description="Removes injections and simplifies what is left, for as long as the same failure still shows, also "
        "where it shows only now and then. The same command again goes on where it was left.",
    )
    _add_again(shrink, workloads)
    shrink.add_argument(
        "--budget", type=_duration_s, default=1200.0, metavar="DURATION", help="time to spend (default: 20m)"
    )
    shrink.add_argument("--max-runs", type=_count, metavar="N", help="runs to spend (default: no limit)")
    shrink.add_argument("--anew", action="store_true", help="forget what an earlier shrinking found out")

    soak = parsers.add_parser(
        "soak",
        help="let weeks pass in the twin, with random demand and faults",
        description="Weeks of a cluster's life in virtual time, judged window by window; the demand and the faults of "
        "each window are drawn from SPEC. Ctrl-C concludes with the verdict so far.",
    )
    _add_spec(soak)
    soak.add_argument(
        "--for", dest="duration", type=_duration_s, default=86400.0, metavar="TIME", help="12h, 30d, … (default: 1d)"
    )
    soak.add_argument("--seed", type=int, metavar="N", help="seed of all random choices; same seed, same choices")
    _add_store(soak)
    soak.add_argument("--json", action="store_true", help="print the verdict as JSON on standard output")

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

    compare = parsers.add_parser(
        "compare",
        help="hold two recorded runs against each other",
        description="Aligns the decisions of two runs on the beginning of their loads, draws both, says how far they "
        "agree, and names the first decision at which they part.",
    )
    compare.add_argument("runs", nargs=2, metavar="RUN", help="a run directory, or a run's name in the store")
    compare.add_argument(
        "--tolerance", type=_seconds, default=TOLERANCE_S, metavar="S",
        help=f"seconds a decision may come apart in the two and still be the same (default: {TOLERANCE_S:g})",
    )  # fmt: skip
    compare.add_argument("--picture", metavar="FILE", help="where to draw it, .png or .svg (default: with the second)")
    compare.add_argument("--json", action="store_true", help="as JSON")
    _add_store(compare)

    calibrate = parsers.add_parser(
        "calibrate",
        help="fit the twin's latencies to recorded runs",
        description="Measures in runs of a real cluster how long nodes, the GCS and the job take for what they do, and "
        "writes the fitted distributions to a file for `run --cluster sim --calibration FILE`.",
    )
    calibrate.add_argument("runs", nargs="+", metavar="RUN", help="a run directory, or a run's name in the store")
    calibrate.add_argument(
        "--into", default="calibration.yaml", metavar="FILE", help="what to write (default: calibration.yaml)"
    )
    _add_store(calibrate)

    parsers.add_parser("schema", help="print the JSON Schema of a spec, for editors")
    parsers.add_parser("heal", help="undo whatever dead runs left behind")
    doctor = parsers.add_parser("doctor", help="say what this machine can do, and which faults are available")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _add_releases(parser: argparse.ArgumentParser) -> None:
    _add_ray(
        parser,
        "VERSION,…",
        "with the autoscaler of another release of Ray, such as 2.54.1; of several, side by side. Each is fetched once "
        "(--cluster sim only)",
    )


def _add_ray(parser: argparse.ArgumentParser, metavar: str, told: str) -> None:
    parser.add_argument("--ray", metavar=metavar, help=told)
    parser.add_argument(
        "--try-ray", action="store_true", help="try a release of --ray that is older or newer than those known to work"
    )


def _add_again(parser: argparse.ArgumentParser, workloads: Sequence[str]) -> None:
    parser.add_argument("run", metavar="RUN|SCHEDULE", help="a run (directory or name), a spec, or a schedule's file")
    parser.add_argument("--spec", metavar="SPEC.yaml", help="what to run a schedule's file by")
    _add_changes(parser)
    parser.add_argument("--workload", metavar="NAME", help=f"one of: {', '.join(workloads)}")
    parser.add_argument("--seed", type=int, metavar="N", help="another seed than the run's")
    _add_ray(
        parser,
        "VERSION",
        "with the autoscaler of another release of Ray, such as 2.54.1 (default: the one that RUN was made with on the "
        "twin, else the one installed). It is fetched once (--cluster sim only)",
    )
    _add_store(parser)


def _seconds(text: str) -> float:
    """A number of seconds, 0 or more.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, such as 0 or 2.5")
    return seconds


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", nargs="?", metavar="SPEC.yaml", help="what to run; `raychaos schema` describes it")
    _add_changes(parser)


def _add_changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cluster", choices=commands.KINDS, help="kind of cluster (default: the spec's)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="override a field, e.g. cluster.max_workers=2"
    )


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", default="runs", metavar="DIR", help="where run directories lie (default: runs)")


def _duration_s(text: str) -> float:
    """Seconds of a duration.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: use a whole number above 0")
    return int(text)
