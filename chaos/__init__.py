"""The engine of raychaos: mechanism only; it names no specific fault or workload."""

__version__ = "0.1.0"
