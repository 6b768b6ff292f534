"""Run directories: what a run leaves on disk, and the baselines kept between runs."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from chaos import __version__
from chaos.errors import ClusterError, InvalidSpec
from chaos.events import BaselineKnown
from chaos.home import home
from chaos.spec import RunSpec

LATEST = "latest"


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        """The directory's name is the run's identity."""
        return self.path.name

    @property
    def spec(self) -> Path:
        """The fully resolved specification."""
        return self.path / "spec.yaml"

    @property
    def schedule(self) -> Path:
        """The schedule alone, to be run again elsewhere."""
        return self.path / "schedule.yaml"

    @property
    def history(self) -> Path:
        """Everything that happened."""
        return self.path / "history.jsonl"

    @property
    def verdict(self) -> Path:
        """The judgement, for machines."""
        return self.path / "verdict.json"

    @property
    def report(self) -> Path:
        """The judgement, for people."""
        return self.path / "report.txt"

    @property
    def picture(self) -> Path:
        """The timeline, drawn."""
        return self.path / "timeline.png"

    @property
    def junit(self) -> Path:
        """The judgement, for CI servers."""
        return self.path / "junit.xml"

    @property
    def logs(self) -> Path:
        """Ray's, the Cloud's and the nodes' logs."""
        return self.path / "logs"


def create(store: Path, spec: RunSpec, *, suffix: str = "") -> RunDirectory:
    """A new run directory with the specification and the schedule in it, before anything starts.

    Raises:
        ClusterError: the store cannot be written.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    directory = RunDirectory(store / f"{stamp}-{spec.name}{suffix}-{secrets.token_hex(2)}")
    try:
        directory.path.mkdir(parents=True)
        directory.logs.mkdir()
        directory.spec.write_text(spec.to_yaml())
        directory.schedule.write_text(spec.schedule.to_yaml())
    except OSError as error:
        raise ClusterError(f"{error.filename or store}: cannot write run directories here: {error.strerror}") from error
    return directory


def discard_unused(directory: RunDirectory) -> None:
    """Removes the directory of a run that never began: one without a history."""
    if not directory.history.exists():
        shutil.rmtree(directory.path, ignore_errors=True)


def point_latest(directory: RunDirectory) -> None:
    """Lets `latest` beside the directory point at it: always the newest run that was judged, a baseline's too."""
    link = directory.path.parent / LATEST
    temporary = link.with_name(f".{LATEST}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(directory.path.name)
    temporary.replace(link)


def find(run: str, store: Path) -> RunDirectory:
    """The run a user names: a directory, a history file in it, or a run's name in the store.

    `latest` is the newest run that was judged, which is not the newest that began where that was killed.

    Raises:
        InvalidSpec: there is none.
    """
    for candidate in (Path(run), store / run):
        path = candidate.parent if candidate.is_file() and candidate.name == "history.jsonl" else candidate
        if path.is_dir():
            directory = RunDirectory(path.resolve())
            if not directory.history.is_file():
                raise InvalidSpec(f"{path}: no history.jsonl in it; is it a run directory?")
            return directory
    known = sorted(entry.name for entry in store.iterdir() if entry.is_dir()) if store.is_dir() else []
    recent = ", ".join(known[-5:]) or "none"
    raise InvalidSpec(f"no run {run!r}: neither a directory nor in the store {store} (newest there: {recent})")


def machine_id() -> str:
    """What makes timings comparable: this machine's name, cores and memory."""
    memory_gib = round(psutil.virtual_memory().total / 2**30)
    return f"{os.uname().nodename}-{os.cpu_count()}c-{memory_gib}g"


def baseline_path(spec: RunSpec, *, ray_version: str) -> Path:
    """Where the baseline of this cluster and workload on this machine is kept; the schedule and seed do not matter."""
    data = spec.to_data()
    identity = {
        "cluster": data["cluster"],
        "workload": data["workload"],
        "machine": machine_id(),
        "ray": ray_version,
        "raychaos": __version__,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
    return home() / "baselines" / f"{digest}.json"


def load_baseline(path: Path) -> BaselineKnown | None:
    """The kept baseline; None when there is none, or one of another version."""
    try:
        return BaselineKnown.model_validate_json(path.read_text())
    except (OSError, ValueError):
        return None


def save_baseline(path: Path, baseline: BaselineKnown) -> None:
    """Keeps a baseline for later runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(baseline.model_dump_json(indent=1))
    temporary.replace(path)
