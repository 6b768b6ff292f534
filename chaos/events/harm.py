"""Events of the injections: due, made or not, seen to take effect, and healed."""

from __future__ import annotations

from typing import Literal, TypeAlias

from chaos.value import Value

Outcome: TypeAlias = Literal["took_effect", "no_effect", "unknown"]


class FaultDue(Value):
    """An injection's trigger fired; `by_time` where its event had not come, and the time given for that case did."""

    kind: Literal["fault.due"] = "fault.due"
    injection: str
    fault: str
    due_s: float
    by_time: bool = False


class FaultSkipped(Value):
    """An injection was not made: no target, beyond the blast radius (`refused`), or its trigger never fired."""

    kind: Literal["fault.skipped"] = "fault.skipped"
    injection: str
    fault: str
    reason: Literal["no_target", "refused", "not_triggered", "run_ended", "failed"]
    detail: str = ""


class FaultInjected(Value):
    """A fault was applied to `victims` at `applied_s`, `lateness_s` after it was due."""

    kind: Literal["fault.injected"] = "fault.injected"
    injection: str
    fault: str
    victims: tuple[str, ...]
    due_s: float
    applied_s: float
    lateness_s: float
    effect_id: str
    heal_due_s: float | None = None


class FaultProbed(Value):
    """What an independent probe saw of the fault."""

    kind: Literal["fault.probed"] = "fault.probed"
    injection: str
    fault: str
    outcome: Outcome
    detail: str
    asked: float | None = None
    measured: float | None = None
    unit: str = ""


class FaultHealed(Value):
    """A lasting fault was undone; `proven` when a probe saw its effect gone."""

    kind: Literal["fault.healed"] = "fault.healed"
    injection: str
    fault: str
    due_s: float
    healed_s: float
    proven: bool
    detail: str = ""
