"""What the tasks state about themselves, and how they are spelled for models of both kinds."""

import pytest

from ptune_scale.errors import UserError
from ptune_scale.superglue import TASKS, find_task, records_of
from ptune_scale.task.answers.words import Words
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Slots
from ptune_scale.task.task import Splits, Task
from ptune_scale.task.tokenization import Tokenization

RAW = {
    "BoolQ": {"idx": 0, "passage": "The cat sat", "question": "is it tired"},
    "CB": {"idx": 0, "premise": "The dog barks.", "hypothesis": "it is home."},
    "RTE": {"idx": 0, "premise": "The dog barks.", "hypothesis": "it is home!?"},
    "MultiRC": {
        "idx": 0,
        "passage": {
            "text": "The cat sat",
            "questions": [
                {"idx": 1, "question": "was it home", "answers": [{"idx": 2, "text": "the sea"}]}
            ],
        },
    },
    "WiC": {"idx": 0, "word": "dog", "sentence1": "The dog ran", "sentence2": "it was the dog"},
    "COPA": {
        "idx": 0,
        "premise": "The cat slept.",
        "choice1": "It ran home.",
        "choice2": "He was tired.",
        "question": "cause",
    },
    "WSC": {
        "idx": 0,
        "text": "Tom Smith ran and he slept",
        "target": {"span1_text": "Tom Smith", "span2_text": "he", "span2_index": 4},
    },
}


def _row(task: str, tokens: Tokenization, written, **how) -> str:  # noqa: ANN001, ANN003
    own = find_task(task)
    asked = AskedTask(
        Task(task, own.wording(**how), Splits((), (), ()), own.metrics, own.select_on), tokens, 0
    )
    [question] = asked.questions(records_of(own, RAW[task]), "evaluate")
    row = question.rows[0]
    masks = [
        place for place, token in enumerate(row.ids) if token == tokens.tokenizer.mask_token_id
    ]
    assert list(row.targets) == (masks if tokens.kind == "masked" else [len(row.ids) - 1])
    return written(row, tokens)


# "P0" is prompt slot 0; the other words are tokens.
CORRECT = {
    "BoolQ": "[CLS] The cat sat . P0 Question : is it tired ? Answer : [MASK] . [SEP]",
    "CB": "[CLS] The dog barks . [SEP] it is home ? P0 answer : [MASK] [SEP]",
    "RTE": "[CLS] The dog barks . Question : it is home ? P0 Answer : [MASK] . [SEP]",
    "MultiRC": "[CLS] The cat sat . Question : was it home ? Is it the sea ? P0 [MASK] . [SEP]",
    "WiC": "[CLS] The dog ran [SEP] it was the dog P0 * dog * ? [MASK] [SEP]",
    "COPA": (
        "[CLS] it ran home or he was tired ? The cat slept because P0 [MASK] [MASK] [MASK] . [SEP]"
    ),
    "WSC": (
        "[CLS] P0 Tom Smith ran and * he * slept P1 pronoun ' * he * ' refers to "
        "[MASK] [MASK] [MASK] . [SEP]"
    ),
}
REFERENCE = {
    ("BoolQ", 1): CORRECT["BoolQ"],
    ("CB", 1): "[CLS] The dog barks . [SEP] it is home . ? P0 answer : [MASK] [SEP]",
    ("RTE", 1): CORRECT["RTE"],
    ("MultiRC", 1): CORRECT["MultiRC"],
    ("WiC", 1): CORRECT["WiC"],
    ("WiC", 2): "[CLS] The dog ran [SEP] it was the dog P0 * dog * ? P1 [MASK] [SEP]",
    ("WiC", 3): "[CLS] P0 The dog ran [SEP] it was the dog P1 * dog * ? P2 [MASK] [SEP]",
    ("WiC", 4): "[CLS] P0 The dog ran [SEP] it was the dog P1 * dog * ? P2 [MASK] P3 [SEP]",
    ("COPA", 1): CORRECT["COPA"],
    ("WSC", 1): (
        "[CLS] Tom Smith ran and * he * slept P0 pronoun ' * he * ' refers to "
        "[MASK] [MASK] [MASK] . [SEP]"
    ),
    ("WSC", 2): CORRECT["WSC"],
}


@pytest.mark.parametrize("task", TASKS)
def test_tokens_in_a_word_piece_vocabulary(task: str, word_piece: Tokenization, written) -> None:
    assert _row(task, word_piece, written) == CORRECT[task]


@pytest.mark.parametrize(("task", "slots"), REFERENCE, ids=str)
def test_tokens_of_the_published_patterns(
    task: str, slots: int, word_piece: Tokenization, written
) -> None:
    row = _row(task, word_piece, written, spelling="reference", num_slots=slots)
    assert row == REFERENCE[task, slots]
    assert find_task(task).wording("ptuning", "reference", slots).pattern.num_slots == slots


def test_words_are_spelled_as_in_a_sentence_but_on_their_own_in_the_published_code(
    sentence_piece: Tokenization, roberta_like: Tokenization, written
) -> None:
    assert _row("BoolQ", sentence_piece, written) == (
        "[CLS] ▁The ▁cat ▁sat . P0 ▁Question : ▁is ▁it ▁tired ? ▁Answer : [MASK] . [SEP]"
    )
    assert _row("BoolQ", sentence_piece, written, spelling="reference") == (
        "[CLS] ▁The ▁cat ▁sat ▁. P0 ▁Question : ▁is ▁it ▁tired ▁? ▁Answer : [MASK] ▁. [SEP]"
    )
    wsc = _row("WSC", sentence_piece, written, spelling="reference")
    assert wsc.endswith("▁to [MASK] [MASK] [MASK] ▁. [SEP]")
    assert _row("RTE", roberta_like, written, spelling="reference") == (
        "<s> ĠThe Ġdog Ġbarks . ĠQuestion : Ġit Ġis Ġhome Ġ? P0 ĠAnswer : <mask> Ġ. </s>"
    )
    # What is glued to masks gets no space.
    wsc = _row("WSC", roberta_like, written, spelling="reference")
    assert wsc.endswith("Ġto <mask> <mask> <mask> . </s>")


def test_a_causal_model_reads_up_to_the_target(causal: Tokenization, written) -> None:
    assert _row("BoolQ", causal, written) == (
        "T he Ġcat Ġsat . P0 ĠQuestion : Ġis Ġit Ġtired ? ĠAnswer :"
    )
    # A line break stands for the separator.
    assert _row("WiC", causal, written).startswith("T he Ġdog Ġran Ċ it Ġwas Ġthe Ġdog P0")
    assert _row("WSC", causal, written).endswith("Ġrefers Ġto")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_pattern_with_and_without_anchors_and_a_manual_one(task: str) -> None:
    own = TASKS[task]
    wordings = own.wordings()
    [record] = records_of(own, RAW[task])
    for name, wording in wordings.items():
        wording.pattern.check_fields(record.fields, task)
        assert bool(wording.pattern.num_slots) != name.startswith("manual")
        if isinstance(wording.answer, Words):
            assert wording.answer.labels == tuple(own.labels)
    assert {"ptuning", "no_anchors", "manual_0"} <= set(wordings)
    assert all(own.wording("ptuning", "reference", n).pattern for n in own.reference)
    with pytest.raises(UserError, match=f"{task} has no pattern 'best'; it has ptuning"):
        own.wording("best")


@pytest.mark.parametrize("task", TASKS)
def test_behind_all_texts_means_all_of_them(task: str) -> None:
    pieces = TASKS[task].wordings()["behind"].pattern.pieces
    first_slots = next(i for i, piece in enumerate(pieces) if isinstance(piece, Slots))
    assert not any(getattr(piece, "names", ()) for piece in pieces[first_slots:])


def test_slots_can_be_made_more_but_not_where_there_are_none() -> None:
    assert find_task("WSC").wording(num_slots=2).pattern.num_slots == 4
    with pytest.raises(UserError, match="cannot have 3 prompt slots"):
        find_task("RTE").wording("manual_0", num_slots=3)
    with pytest.raises(UserError, match="with 5 prompt slots; it has 1, 2, 3, 4"):
        find_task("WiC").wording(spelling="reference", num_slots=5)
    with pytest.raises(UserError, match="'ptuning' only"):
        find_task("WiC").wording("manual_0", "reference")
