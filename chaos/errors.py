"""The errors raychaos raises: one root, one class per kind of remedy.

A failing *system under test* is a verdict, never one of these.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup
else:
    ExceptionGroup = ExceptionGroup

__all__ = ["ChaosError", "ClusterError", "ExceptionGroup", "InjectionError", "InvalidSpec", "NothingToHit"]


class ChaosError(Exception):
    """Root of everything raychaos raises on purpose; its message says what to do."""


class InvalidSpec(ChaosError, ValueError):
    """What the user asked for cannot be meant: unknown names, values out of range, contradictions."""


class ClusterError(ChaosError):
    """The machine or the cluster cannot do what was asked: no engine, no room, a head that dies at start."""


class ClusterUnavailable(ClusterError):
    """This machine cannot run the cluster at all: nothing has been run on it."""


class InjectionError(ChaosError):
    """A fault could not be injected, probed or healed."""


class NothingToHit(InjectionError):
    """On none of its victims is there what the fault hits."""
