"""Abort conditions: what is measured against what, and that a run waits for nothing else."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from chaos.abort import Abort, Answer, in_words
from chaos.events import HostSampled, RunAborted
from chaos.history import Recorder
from tests.doubles import VirtualClock, settle


def sample(*, memory_mb: float = 4000.0, disk_mb: float = 9000.0) -> HostSampled:
    return HostSampled(cpu_busy=0.5, memory_free_mb=memory_mb, disk_free_mb=disk_mb)


@pytest.mark.parametrize(
    ("abort", "seen", "says"),
    [
        (Abort(memory_free_mb=500), sample(memory_mb=499), "memory_free_mb: 499 MiB, limit 500"),
        (Abort(disk_free_mb=800), sample(disk_mb=120), "disk_free_mb: 120 MiB, limit 800"),
        (Abort(memory_free_mb=500), sample(memory_mb=500), None),
        (Abort(), sample(memory_mb=1, disk_mb=1), None),
    ],
)
def test_a_floor_is_met_below_it(abort: Abort, seen: HostSampled, says: str | None) -> None:
    found = abort.by_host(seen)
    assert (None if found is None else in_words(found)) == says


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(status=0, said="fine"), None),
        (Answer(status=3, said="smoke"), "command: check ended with status 3: smoke"),
        (Answer(status=-9), "command: check ended with status -9"),
        (Answer(status=None), "command: check did not end within 2 s"),
    ],
)
def test_a_command_aborts_by_its_status_or_its_silence(answer: Answer, says: str | None) -> None:
    found = Abort(command=("check",), command_limit_s=2).by_answer(answer)
    assert (None if found is None else in_words(found)) == says


class Watch:
    """Abort conditions watched on a clock and a history that a test drives; `answers` are the command's, in turn."""

    def __init__(self, abort: Abort, *answers: Answer) -> None:
        self.clock = VirtualClock()
        self.recorder = Recorder(None, self.clock)
        self.answers = list(answers)
        self.asked: list[tuple[float, tuple[str, ...], float]] = []
        self.met = asyncio.ensure_future(abort.met(self.recorder, self._ask))

    async def _ask(self, command: tuple[str, ...], limit_s: float) -> Answer:
        self.asked.append((self.clock.now_s(), command, limit_s))
        return self.answers.pop(0) if self.answers else Answer(status=0)

    async def end(self) -> None:
        """Stops watching."""
        self.met.cancel()
        await asyncio.gather(self.met, return_exceptions=True)


async def test_the_first_low_sample_aborts() -> None:
    watch = Watch(Abort(memory_free_mb=500))
    watch.recorder.append(sample())
    await settle()
    assert not watch.met.done()
    watch.recorder.append(sample(memory_mb=100))
    await settle()
    assert watch.met.result() == RunAborted(condition="memory_free_mb", measured=100, limit=500, unit="MiB")


async def test_the_command_is_asked_every_so_often_until_it_objects() -> None:
    watch = Watch(Abort(command=("check", "-q"), every_s=4, command_limit_s=2), Answer(0), Answer(0), Answer(7))
    await watch.clock.advance_to(7.0)
    assert not watch.met.done()
    await watch.clock.advance_to(9.0)
    assert watch.met.result().measured == 7
    assert watch.asked == [(at_s, ("check", "-q"), 2.0) for at_s in (0.0, 4.0, 8.0)]


async def test_without_conditions_nothing_is_ever_met_nor_asked() -> None:
    watch = Watch(Abort())
    watch.recorder.append(sample(memory_mb=0, disk_mb=0))
    await watch.clock.advance_to(1000.0)
    assert not watch.met.done()
    assert watch.asked == []
    await watch.end()


async def test_a_bug_in_asking_is_told() -> None:
    async def broken(command: tuple[str, ...], limit_s: float) -> Answer:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        await Abort(command=("check",)).met(Recorder(None, VirtualClock()), broken)


@pytest.mark.parametrize("data", [{"memory_free_mb": 0}, {"every_s": 0}, {"command": "a string"}, {"cmd": ["x"]}])
def test_conditions_that_cannot_be_meant(data: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Abort.model_validate(data)
