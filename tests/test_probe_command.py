"""The command of the abort conditions: its status, its last word, its limit."""

from __future__ import annotations

import sys
import time

from chaos.abort import Answer
from chaos.probe_command import ask


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


async def test_its_status_and_its_last_line_are_told_errors_before_output() -> None:
    assert await ask(("true",), 10.0) == Answer(status=0)
    assert await ask(python("print('a'); print('b')"), 20.0) == Answer(status=0, said="b")
    words = await ask(python("import sys; print('out'); sys.exit('no room\\nleft')"), 20.0)
    assert words == Answer(status=1, said="left")


async def test_what_does_not_end_in_time_is_ended() -> None:
    began_s = time.monotonic()
    assert await ask(("sleep", "60"), 0.2) == Answer(status=None)
    assert time.monotonic() - began_s < 10.0


async def test_a_program_that_is_not_there_answers_as_a_shell_would() -> None:
    answer = await ask(("/nowhere/no-such-program",), 1.0)
    assert answer.status == 127
    assert "no-such-program" in answer.said
