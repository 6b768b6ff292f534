"""The examples of docs/fuzzing.md do what they say."""

from __future__ import annotations

import warnings

import pytest
from hypothesis.errors import NonInteractiveExampleWarning

from tests.test_docs import BLOCKS, Block

EXAMPLES = [block for block in BLOCKS if block.document.name == "fuzzing.md" and block.language == "python"]


def test_there_are_examples_of_every_strategy() -> None:
    told = "\n".join(block.text for block in EXAMPLES)
    assert all(f"{name}(" in told for name in ("schedules", "injections", "cluster_specs", "demand_profiles"))


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: block.id)
def test_an_example_runs(block: Block) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonInteractiveExampleWarning)
        exec(compile(block.text, block.id, "exec", dont_inherit=True), {"__name__": "example"})
