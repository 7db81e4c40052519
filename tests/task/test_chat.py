"""Patterns inside a chat's message."""

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from ptune_scale.errors import UserError
from ptune_scale.task.chat import chat_pattern

CHAT_ML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{{ '<start_of_turn>' + m['role'] + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def _tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<bos>", chat_template=template
    )


def test_slots_stand_inside_the_users_message_and_the_target_where_the_answer_begins() -> None:
    assert chat_pattern(_tokenizer(CHAT_ML), "[P]*2 {user...} [P]*4 Answer: [Y]") == (
        "<|im_start|>system\nYou help.<|im_end|>\n"
        "<|im_start|>user\n[P]*2 {user...} [P]*4 Answer:<|im_end|>\n<|im_start|>assistant\n[Y]"
    )
    assert chat_pattern(_tokenizer(GEMMA), "{user} [P] [Y]") == (
        "<bos><start_of_turn>user\n{user} [P]<end_of_turn>\n<start_of_turn>model\n[Y]"
    )


def test_what_the_system_says_is_a_message_of_its_own() -> None:
    assert chat_pattern(_tokenizer(CHAT_ML), "{user} [P] [Y]", has_system=True) == (
        "<|im_start|>system\n{system}<|im_end|>\n"
        "<|im_start|>user\n{user} [P]<|im_end|>\n<|im_start|>assistant\n[Y]"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "has no chat template"),
        (GEMMA, "System role not supported"),
        ("{{ messages[0]['nothing']['at_all'] }}", "the chat template of"),
        ("{{ messages[1]['content'] | lower }}", "cannot hold a pattern"),
        ("{{ messages[0]['content'] }}{{ messages[1]['content'] }}[Y]", "cannot hold a pattern"),
        ("{% for m in messages %}{{ m['content'] * 2 }}{% endfor %}", "cannot hold a pattern"),
        ("{{ messages[0]['content'] }}", "cannot hold a pattern"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(template: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        chat_pattern(_tokenizer(template), "{user} [P] [Y]", has_system=True)
    assert "\n" not in str(refusal.value)


def test_a_pattern_without_a_target_is_refused() -> None:
    with pytest.raises(UserError, match=r"no targets; write \[Y\] exactly once"):
        chat_pattern(_tokenizer(CHAT_ML), "{user} [P]")
