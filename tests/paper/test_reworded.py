"""Facts under another manual prompt."""

import json

import pytest

from ptune_scale.data.lama import load_lama
from ptune_scale.errors import UserError
from ptune_scale.paper.reworded import reword


def test_one_relation_has_another_prompt_and_all_else_stays(tiny_facts, tmp_path):
    for _ in range(2):
        reword(tiny_facts, "P36", "[X] is governed from [Y].", tmp_path / "facts")
    before, after = load_lama(tiny_facts), load_lama(tmp_path / "facts")
    assert [r.manual_prompt for r in after.relations] == [
        "[X] is governed from [Y].",
        before.relations[1].manual_prompt,
    ]
    assert [r.train + r.test for r in after.relations] == [
        r.train + r.test for r in before.relations
    ]


def test_a_relation_that_is_not_there_is_refused(tiny_facts, tmp_path):
    with pytest.raises(UserError, match="relations.jsonl has no relation P17"):
        reword(tiny_facts, "P17", "[X] is in [Y].", tmp_path / "facts")


def test_a_line_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "relations.jsonl").write_text(json.dumps({"relation": "P1"}) + "\n[1]\n")
    with pytest.raises(UserError, match=r"relations\.jsonl:2: not a JSON object"):
        reword(tmp_path, "P1", "[X] [Y]", tmp_path / "facts")
