"""How far a run may lie from its fault-free baseline before a property fails.

Budgets are multiples of what the baseline measured plus what the injected faults themselves cost; a slack in seconds
covers the resolution of sampling on a noisy machine.
"""

from __future__ import annotations

from pydantic import Field

from chaos.value import Value


class Bounds(Value):
    """Factors on the baseline, and slack in seconds.

    `failure_s` is how long a job may take to fail after a fault it is not expected to survive; Ray itself waits a
    minute for a GCS that went away.
    """

    factor: float = Field(default=2.0, ge=1.0)
    slack_s: float = Field(default=8.0, ge=0.0)
    overshoot_s: float = Field(default=10.0, gt=0.0)
    failure_s: float = Field(default=90.0, gt=0.0)
    busy_limit: float = Field(default=0.98, gt=0.0, le=1.0)

    def over(self, baseline_s: float, *, faults_cost_s: float = 0.0) -> float:
        """The bound in seconds for something that took `baseline_s` without faults."""
        return self.factor * baseline_s + faults_cost_s + self.slack_s
