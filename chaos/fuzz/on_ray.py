"""A campaign's runs as tasks of a Ray cluster that is there already: results stream back, lost tasks are made again."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos.errors import ClusterError
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.runner import TwinRunner
from chaos.fuzz.trial import Wish
from chaos.fuzz.worker import Task, Worker
from chaos.spec import Catalogue

_POLL_S = 0.2
# To fetch an outcome that is there takes a moment; where its node is lost, Ray may wait for another without limit.
_FETCH_LIMIT_S = 60.0
# A run takes seconds, and a cluster that has to grow for it some minutes.
_SILENCE_LIMIT_S = 900.0
# A node that ends takes its tasks with it. Ray makes them again so often, on other nodes; then the task is given anew.
_RETRIES = 3
_GIVEN_ANEW = 2
_WORKERS: dict[str, Worker] = {}
# Waits for the end of its standard input, in the background, and removes a directory.
_REMOVER = 'exec 3<&0; { read -r line <&3; rm -rf -- "$1"; } &'
_REMOVER_LIMIT_S = 30.0


class RayCrew:
    """At most `count` tasks at a time, each on one CPU of the cluster at `address`.

    The cluster needs raychaos's dependencies and this Ray and Python; raychaos itself is sent along.

    Raises:
        ClusterError: nobody answers at the address, or it is of another version.
    """

    def __init__(self, wish: Wish, catalogue: Catalogue, address: str, *, count: int, keep: Path) -> None:
        import ray
        from ray.exceptions import RayError

        plain = Catalogue(faults=dict(catalogue.faults), workloads=dict(catalogue.workloads))
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                configure_logging=False,
                runtime_env={"py_modules": _sources(plain), "env_vars": {"RAY_USAGE_STATS_ENABLED": "0"}},
            )
            self._catalogue = ray.put(plain)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            ray.shutdown()
            raise ClusterError(f"--on {address}: {error}") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own would end this process where it stands
        self._wish = wish.model_dump_json()
        self._count = count
        self._keep = keep
        self._remote: Any = ray.remote(num_cpus=1, max_retries=_RETRIES, num_returns="streaming")(_outcomes)
        self._streams: dict[Any, tuple[Task, int, int]] = {}
        self._told_s = time.monotonic()

    @property
    def open_tasks(self) -> int:
        """Tasks that were given, and are not done."""
        return len(self._streams)

    @property
    def wants_more(self) -> bool:
        """Whether a CPU would have nothing to do."""
        return len(self._streams) < self._count

    def give(self, task: Task) -> None:
        """One more task."""
        self._submit(task, heard=0, given=1)

    def listen(self) -> Outcome | None:
        """The next outcome of any task; None when there was none for a moment, or a task is done.

        Raises:
            ClusterError: a task was lost again and again, or no task tells anything.
        """
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        ready, _ = ray.wait(list(self._streams), timeout=_POLL_S, fetch_local=False)
        if not ready:
            if time.monotonic() - self._told_s > _SILENCE_LIMIT_S:
                raise ClusterError(
                    f"no task told anything for {_SILENCE_LIMIT_S:.0f} s: has the cluster a CPU that is free for one?"
                )
            return None
        stream = ready[0]
        task, heard, given = self._streams[stream]
        try:
            reference = stream._next_sync(timeout_s=_FETCH_LIMIT_S)  # what next() does, but that has no limit
            if reference.is_nil():
                raise GetTimeoutError(f"its outcomes were not there within {_FETCH_LIMIT_S:.0f} s")
            outcome, packed = ray.get(reference, timeout=_FETCH_LIMIT_S)
        except StopIteration:
            self._told_s = time.monotonic()
            del self._streams[stream]
            return None
        except RayError as error:
            del self._streams[stream]
            ray.cancel(stream, force=True)  # nobody listens to it any more
            if given > _GIVEN_ANEW:
                raise ClusterError(f"a task was lost {given} times, the last time so: {error}") from error
            self._submit(task, heard=heard, given=given + 1)
            return None
        self._told_s = time.monotonic()
        if outcome is None:
            return None
        self._streams[stream] = (task, heard + 1, given)
        return self._unpacked(outcome, packed)

    def end(self) -> None:
        """Takes back what has not been done, and leaves the cluster.

        Raises:
            ClusterError: a task could not be taken back; the cluster is left all the same.
        """
        import ray
        from ray.exceptions import RayError

        try:
            for stream in self._streams:
                ray.cancel(stream, force=True)
        except RayError as error:
            raise ClusterError(f"a task could not be taken back from the Ray cluster: {error}") from error
        finally:
            ray.shutdown()

    def _submit(self, task: Task, *, heard: int, given: int) -> None:
        """Gives a task, of which so many outcomes are known already."""
        if not self._streams:
            self._told_s = time.monotonic()
        stream = self._remote.remote(self._wish, self._catalogue, task, heard)
        self._streams[stream] = (task, heard, given)

    def _unpacked(self, outcome: Outcome, packed: bytes) -> Outcome:
        if not packed:
            return outcome
        try:
            self._keep.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(self._keep, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise ClusterError(f"{self._keep}: cannot be written: {error}") from error
        return outcome.model_copy(update={"kept": str(self._keep / Path(outcome.kept).name)})


def _sources(catalogue: Catalogue) -> list[str]:
    """Where the packages lie that a task imports: this one, and those the catalogue's classes are from."""
    classes = (*catalogue.faults.values(), *catalogue.workloads.values())
    packages = {__name__.partition(".")[0], *(kind.__module__.partition(".")[0] for kind in classes)}
    files = [sys.modules[name].__file__ for name in sorted(packages)]
    return [str(Path(file).parent if Path(file).name == "__init__.py" else file) for file in files if file is not None]


def _outcomes(wish: str, catalogue: Catalogue, task: Task, heard: int) -> Iterator[Any]:
    """The task: its outcomes but for the first `heard`, each with the directory that is kept of it, packed.

    For each run that is not told it yields None: who makes runs again is not silent.
    """
    number = 0
    for outcome in _worker(wish, catalogue).signs(task):
        if outcome is None:
            yield None, b""
            continue
        packed = _packed(Path(outcome.kept)) if outcome.kept else b""
        yield (outcome, packed) if number >= heard else (None, b"")
        number += 1


def _worker(wish: str, catalogue: Catalogue) -> Worker:
    """The worker of this process, which keeps in mind what it has found."""
    if wish not in _WORKERS:
        scratch = _scratch()
        tempfile.tempdir = str(scratch)  # of all that its runs write, nothing is left on the cluster's nodes
        _WORKERS[wish] = Worker(Wish.model_validate_json(wish), catalogue, TwinRunner(scratch), keep=scratch / "keep")
    return _WORKERS[wish]


def _scratch() -> Path:
    """A directory that is removed when this process is gone, however it ends: one that is killed does nothing any more.

    Whoever removes it is nobody's child and in no group of ours: Ray ends the children of its workers.
    """
    scratch = Path(tempfile.mkdtemp(prefix="raychaos-fuzz-"))
    end, _ = os.pipe()  # the other end is open as long as this process lives, and no other has it
    try:
        subprocess.run(
            ["/bin/sh", "-c", _REMOVER, "sh", str(scratch)],
            stdin=end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
            timeout=_REMOVER_LIMIT_S,
        )
    finally:
        os.close(end)
    return scratch


def _packed(directory: Path) -> bytes:
    """A run directory as an archive; it is removed."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        archive.add(directory, arcname=directory.name)
    shutil.rmtree(directory)
    return whole.getvalue()
