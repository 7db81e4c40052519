"""What stands in front of a question: which records, how they are written, how many fit."""

from collections import Counter
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ptune_scale.superglue import find_task, records_of
from ptune_scale.superglue.demonstrations import demonstrate, take_turns
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.task.tokenization import Tokenization


def _question(idx: int, label: bool, passage: str = "The cat sat") -> Record:
    values = {"idx": idx, "passage": passage, "question": "is it tired", "label": label}
    return records_of(find_task("BoolQ"), values)[0]


def _asked(
    task: str, tokens: Tokenization, pattern: str, length: int = 64, **more: Any
) -> AskedTask:
    own = find_task(task)
    wordings = own.wordings()
    wording = wordings.get(pattern) or Wording(Pattern.parse(pattern), own.answer)
    made = Task(task, wording, Splits((), (), ()), max_length=length)
    return AskedTask(made, tokens, 0, **more)


COPA = {
    "idx": 0,
    "premise": "The cat slept.",
    "choice1": "It ran home.",
    "choice2": "He was so tired.",
    "question": "cause",
    "label": 1,
}
WSC = {
    "idx": 0,
    "text": "Tom Smith ran and he slept",
    "target": {"span1_text": "Tom Smith", "span2_text": "he", "span2_index": 4},
    "label": True,
}
TEXTS = [
    (
        "BoolQ",
        "manual_0",
        _question(0, True),
        "The cat sat. Question: is it tired? Answer: Yes.\n\n",
    ),
    (
        "COPA",
        "manual_1",
        records_of(find_task("COPA"), COPA)[0],
        "it ran home or he was so tired? The cat slept because he was so tired.\n\n",
    ),
    (
        "WSC",
        "manual_0",
        records_of(find_task("WSC"), WSC)[0],
        "Tom Smith ran and *he* slept The pronoun '*he*' refers to Tom Smith.\n\n",
    ),
]


@pytest.mark.parametrize(("task", "pattern", "record", "text"), TEXTS)
def test_a_record_is_written_with_its_answer_as_the_tokenizer_spells_the_whole_text(
    task: str, pattern: str, record: Record, text: str, causal: Tokenization
) -> None:
    shown = demonstrate(_asked(task, causal, pattern), [record, record], at_most=8)
    assert shown.records == (record, record)
    assert list(shown.ids) == causal.tokenizer(2 * text)["input_ids"]


def test_line_breaks_are_spelled_as_in_front_of_a_text() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["x Yes No\n\n"] * 8, trainer)
    tokens = Tokenization(PreTrainedTokenizerFast(tokenizer_object=tokenizer), "causal")
    asked = _asked("BoolQ", tokens, "{passage...} {question}? [Y]")
    shown = demonstrate(asked, [_question(0, True)], at_most=1)
    text = "The cat sat is it tired? Yes\n\n"
    alone, in_front = (tokens.tokenizer(t)["input_ids"] for t in (text, f"{text}T"))
    assert len(alone) == len(in_front) - 2  # two line breaks at the end are one token
    assert list(shown.ids) == in_front[:-1]


def test_the_question_behind_them_keeps_its_own_length(causal: Tokenization) -> None:
    alone = _asked("BoolQ", causal, "manual_0", 16)
    shown = demonstrate(alone, [_question(0, True)], at_most=1)
    behind = _asked("BoolQ", causal, "manual_0", 16, beginning=shown.ids)
    long = _question(1, False, "The cat sat and the dog ran and it was tired")
    [after], [front] = (each.questions([long], "evaluate") for each in (behind, alone))
    [row], [bare] = after.rows, front.rows
    assert front.cut > 0 and len(bare.ids) == 16
    assert row.ids == shown.ids + bare.ids and after.cut == front.cut
    assert row.targets == (len(row.ids) - 1,)


def test_labels_take_turns_and_the_seed_decides_the_rest() -> None:
    records = [_question(idx, idx < 9) for idx in range(12)]
    labels = ["False", "True"]
    order = take_turns(records, labels, 1)
    assert sorted(int(r.id) for r in order) == list(range(12))
    for count in range(0, 7, 2):
        assert set(Counter(r.answer for r in order[:count]).values()) <= {count // 2}
    assert take_turns(records, labels, 1) == order
    assert any(take_turns(records, labels, seed) != order for seed in (2, 3))


def test_as_many_as_fit_and_as_were_asked_for(causal: Tokenization) -> None:
    asked = _asked("BoolQ", causal, "{passage...} {question}? [Y].")
    short = _question(0, True)
    long = _question(1, False, "The dog ran home and it slept and was tired")

    def shown(*records: Record, **limits: int) -> list[str]:
        found = demonstrate(asked, records, **limits)
        assert len(found.ids) <= limits.get("room", len(found.ids))
        return [record.id for record in found.records]

    size = len(demonstrate(asked, [short], at_most=1).ids)
    assert shown(short, long, short, at_most=2) == ["0", "1"]
    assert shown(short, long, short, at_most=3, room=2 * size) == ["0", "0"]
    assert shown(short, long, at_most=3, room=size - 1) == []
