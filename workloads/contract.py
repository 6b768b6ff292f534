"""How the programs on the cluster and the engine talk: arguments and environment in, lines on standard output back."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from chaos.errors import InvalidSpec
from chaos.events import Event
from chaos.workload import EVENT_PREFIX, Workload

W = TypeVar("W", bound=Workload)

ADDRESS_VARIABLE = "RAYCHAOS_RAY_ADDRESS"
NODE_IP_VARIABLE = "RAYCHAOS_NODE_IP"
DATA_VARIABLE = "RAYCHAOS_DATA"
INSTANCE_VARIABLE = "RAY_CLOUD_INSTANCE_ID"

OUTPUT = "output"

_printing = threading.Lock()


def report(event: Event) -> None:
    """Prints an event as one line: the prefix, then JSON of its fields and this moment's `monotonic_s`."""
    fields = event.model_dump(mode="json") | {"monotonic_s": time.monotonic()}
    line = EVENT_PREFIX + json.dumps(fields, separators=(",", ":")) + "\n"
    with _printing:
        sys.stdout.write(line)
        sys.stdout.flush()


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows `--params JSON`, the workload's parameters."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--params", required=True, metavar="JSON", help="the workload's parameters, as one JSON object")
    return parser


def parse_workload(kind: type[W], params: str) -> W:
    """The validated workload.

    Raises:
        InvalidSpec: the JSON is malformed, or a parameter is unknown or out of range.
    """
    try:
        return kind.model_validate_json(params)
    except ValidationError as error:
        raise InvalidSpec(f"--params do not describe a {kind.name} workload: {error}") from error


def setting(variable: str) -> str:
    """The value of an environment variable the engine sets.

    Raises:
        InvalidSpec: it is unset or empty.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise InvalidSpec(f"the environment variable {variable} is not set; the engine sets it for drivers and oracles")
    return value


def data_directory() -> Path:
    """The run's directory, as all nodes see it.

    Raises:
        InvalidSpec: it is not set, or does not exist.
    """
    path = Path(setting(DATA_VARIABLE))
    if not path.is_dir():
        raise InvalidSpec(f"{DATA_VARIABLE}={path} is no directory")
    return path
