"""Long texts, as in SuperGLUE: with prompts behind the text alone, and around it.

What stands in front of the first prompt needs no backward pass, which is most of the first kind
and nothing of the second.
"""

from typing import Any

from ptune_scale.bench.comparison import Bench, measure_point
from ptune_scale.bench.sections.passages import longest, passage_case
from ptune_scale.bench.tables import table_of

_TEMPLATES = ("[X] [P]*3 [Y]", "[P]*3 [X] [P]*3 [Y]")
_LENGTH = 256


def run(bench: Bench, result: dict[str, Any]) -> None:
    """Measure ours and PEFT in the same settings with each template."""
    points = result.setdefault("points", [])
    length = min(_LENGTH, longest(bench.case))
    for template in _TEMPLATES:
        case, facts = passage_case(bench, bench.case.with_flags(template=template), length)
        label = {"template": template, "input tokens": length}
        measure_point(bench, case, label, points, facts)


def table(result: dict[str, Any]) -> str:
    """One line a template."""
    return table_of(result["points"], ["template", "input tokens"])
