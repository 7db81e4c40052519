"""Templates: notation, validation, slots."""

import pytest

from ptune_scale.encoder import count_parameters
from ptune_scale.errors import UserError
from ptune_scale.template import Template


def test_both_notations_are_the_same_template():
    assert Template.parse("(3, sub, 3, obj)") == Template.parse("[P]*3 [X] [P]*3 [Y]")
    assert Template.parse("(3, sub, 3, obj)").num_slots == 6


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("[P] [Q] [X] [Y]", "unknown placeholder"),
        ("(3, subject, obj)", "unknown placeholder"),
        ("[P] [X]", "no targets"),
        ("[X] [Y] [Y]", "2 targets"),
        ("[P]*0 [X] [Y]", "not allowed"),
    ],
)
def test_bad_patterns_are_refused(pattern, words):
    with pytest.raises(UserError, match=words):
        Template.parse(pattern)


def test_causal_model_refuses_text_behind_the_target():
    template = Template.parse("[X] is [Y] , [P] .")
    with pytest.raises(UserError, match="must be last"):
        template.check("causal")
    template.check("masked")
    assert template.cut_after_target().pattern == "[X] is [Y]"


def test_prompt_encoder_of_megatron_11b_has_the_published_size():
    assert count_parameters("lstm", 3072, 6) == 132_194_304
