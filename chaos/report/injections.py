"""What became of each injection: due, applied, seen, healed; gathered from a history's fault events."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chaos.events import FaultDue, FaultHealed, FaultInjected, FaultProbed, FaultSkipped
from chaos.history import History


@dataclass(frozen=True)
class InjectionStory:
    """One injection as it went. Times are seconds of the run's clock; None where the moment never came."""

    injection: str
    fault: str
    victims: tuple[str, ...] = ()
    due_s: float | None = None
    applied_s: float | None = None
    lateness_s: float | None = None
    heal_due_s: float | None = None
    healed_s: float | None = None
    proven_healed: bool = False
    outcome: str = ""
    detail: str = ""
    asked: float | None = None
    measured: float | None = None
    unit: str = ""
    skipped: str = ""

    @property
    def lasting(self) -> bool:
        """Whether the fault stays until it is healed."""
        return self.heal_due_s is not None or self.healed_s is not None

    def window(self, end_s: float) -> tuple[float, float] | None:
        """When it was in force: a moment for a fault that does not last; until `end_s` where nothing healed it."""
        if self.applied_s is None:
            return None
        if not self.lasting:
            return (self.applied_s, self.applied_s)
        return (self.applied_s, max(self.applied_s, self.healed_s if self.healed_s is not None else end_s))


def injection_stories(history: History) -> tuple[InjectionStory, ...]:
    """Every injection the history names, in order of its first event."""
    stories: dict[str, InjectionStory] = {}
    for record in history:
        event = record.event
        if not isinstance(event, (FaultDue, FaultSkipped, FaultInjected, FaultProbed, FaultHealed)):
            continue
        story = stories.get(event.injection) or InjectionStory(event.injection, event.fault)
        if isinstance(event, FaultDue):
            story = replace(story, due_s=event.due_s)
        elif isinstance(event, FaultSkipped):
            story = replace(story, skipped=event.reason, detail=event.detail or story.detail)
        elif isinstance(event, FaultInjected):
            story = replace(
                story,
                victims=event.victims,
                due_s=event.due_s,
                applied_s=event.applied_s,
                lateness_s=event.lateness_s,
                heal_due_s=event.heal_due_s,
            )
        elif isinstance(event, FaultProbed):
            story = replace(
                story,
                outcome=event.outcome,
                detail=event.detail,
                asked=event.asked,
                measured=event.measured,
                unit=event.unit,
            )
        else:
            story = replace(story, healed_s=event.healed_s, proven_healed=event.proven)
        stories[event.injection] = story
    return tuple(stories.values())
