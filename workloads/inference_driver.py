"""What the drivers of all inference workloads share: the predictor, and what it is made with."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from workloads.driver import Driver
from workloads.inference import InferenceWorkload
from workloads.predictor import Predictor

InferenceW = TypeVar("InferenceW", bound=InferenceWorkload)


class InferenceDriver(Driver[InferenceW]):
    """A driver whose nodes run a `predictor`; another class there makes another workload."""

    predictor: ClassVar[type[Predictor]] = Predictor

    def predictor_arguments(self) -> dict[str, Any]:
        """The keyword arguments with which each worker makes its predictor; they must be JSON."""
        return {
            "data": str(self.data),
            "size": self.workload.size,
            "model_seed": self.workload.model_seed,
            "device_ms_per_batch": self.workload.device_ms_per_batch,
            "on_device_error": self.workload.on_device_error,
        }
