"""How a measured number is told."""

from __future__ import annotations

import json


def tell(name: str, value: float, bound: float, unit: str, **more: object) -> None:
    """Prints one number against its bound."""
    line = {"name": name, "value": round(value, 4), "bound": bound, "unit": unit, "holds": value <= bound, **more}
    print(json.dumps(line), flush=True)
