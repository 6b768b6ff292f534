"""YAML as people mean it: as in YAML 1.2, only `true` and `false` are booleans, and there are no dates.

So the key `on` stays a word, and a name such as `2026-02-30` text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_BOOLEAN_TAG = "tag:yaml.org,2002:bool"
_DROPPED_TAGS = (_BOOLEAN_TAG, "tag:yaml.org,2002:timestamp")
_BOOLEAN = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")


def _without_words(resolvers: dict[str, list[tuple[str, Any]]]) -> dict[str, list[tuple[str, Any]]]:
    kept = {first: [(tag, how) for tag, how in pairs if tag not in _DROPPED_TAGS] for first, pairs in resolvers.items()}
    for first in "tTfF":
        kept.setdefault(first, []).append((_BOOLEAN_TAG, _BOOLEAN))
    return kept


class Loader(yaml.SafeLoader):
    """Reads plain data only."""


class _Dumper(yaml.SafeDumper):
    """Writes plain data only."""


Loader.yaml_implicit_resolvers = _without_words(yaml.SafeLoader.yaml_implicit_resolvers)
_Dumper.yaml_implicit_resolvers = _without_words(yaml.SafeDumper.yaml_implicit_resolvers)


def dump(data: object) -> str:
    """Plain data as YAML, keys in their order; equal data gives equal bytes."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def load(text: str) -> Any:
    """The plain data a YAML text describes.

    Raises:
        yaml.YAMLError: it is malformed, or more than plain data.
    """
    return yaml.load(text, Loader=Loader)
