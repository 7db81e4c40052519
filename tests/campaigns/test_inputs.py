"""A small campaign: damaged inputs and odd command lines end in a result or in one line."""

import importlib
from pathlib import Path

from tests.campaigns.inputs import campaign


def test_damaged_inputs_end_in_a_result_or_in_one_line(tmp_path: Path) -> None:
    # Other tests may have the machine to themselves meanwhile.
    findings = campaign(tmp_path, count=150, seed=7, lines=40, patience=300)
    assert not findings.bad, "\n".join(findings.bad)
    assert sum(count.total() for count in findings.counts.values()) == 190


def test_the_other_campaigns_can_be_begun() -> None:
    for name in ("kills", "storage", "hostile"):
        assert callable(importlib.import_module(f"tests.campaigns.{name}").main)
