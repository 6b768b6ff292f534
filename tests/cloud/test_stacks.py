"""Stack dumps of many processes come to an end, however many of them cannot be dumped."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from chaos.cloud import stacks
from chaos.cloud.config import CloudDirectory

PIDS = 40


def spy(directory: Path, patch: pytest.MonkeyPatch, script: str) -> None:
    """Lets every dump be made by a piece of shell, of processes that need not exist."""
    program = directory / "py-spy"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    patch.setattr(sys, "executable", str(directory / "python"))
    patch.setattr(stacks, "owners_of", lambda _: {pid: f"i-{pid % 3:05d}" for pid in range(1, PIDS + 1)})


def test_every_process_has_its_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy(tmp_path, monkeypatch, '[ "$3" = 7 ] || echo "frame of $3"')
    assert stacks.dump_all(CloudDirectory(tmp_path), tmp_path / "into") == PIDS - 1
    assert (tmp_path / "into" / "i-00002-5.txt").read_text() == "frame of 5\n"
    assert not (tmp_path / "into" / "i-00001-7.txt").exists(), "it said nothing"


def test_processes_that_hang_do_not_hold_up_the_rest_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "ALL_LIMIT_S", 1.0)
    monkeypatch.setattr(stacks, "_DUMP_LIMIT_S", 0.4)
    spy(tmp_path, monkeypatch, 'case $3 in 1|2) echo "frame of $3";; *) exec sleep 60;; esac')
    began_s = time.monotonic()
    assert stacks.dump_all(CloudDirectory(tmp_path), tmp_path / "into") == 2
    assert time.monotonic() - began_s < 3.0
