"""Objects of any length: what is trained, what is written, what is ranked."""

from pathlib import Path

import pytest
import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.lama.objects import Objects
from ptune_scale.parallel import PromptFunction, single
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.text import Text
from ptune_scale.task.ask import Asker
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.example import NO_ANSWER
from ptune_scale.task.objective import token_shares
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording

RANKED = Ranked({"full_vocab": None, "relation": ("Oslo", "Rome")}, one_token=True)
RECORDS = tuple(
    Record(subject, {"subject": subject}, answer)
    for subject, answer in (
        ("Norway", "Oslo"),
        ("Italy", "Rome city"),
        ("the old Spain", "Madrid near Rome"),
        ("France", "Paris"),
    )
)


def _asked(directory: Path, answer: Objects | Ranked | Text) -> tuple[AskedTask, PromptFunction]:
    backbone = load_backbone(str(directory))
    wording = Wording(Pattern.parse("[P]*2 [X] [P] [Y]"), answer)
    task = Task("P36", wording, Splits(RECORDS, (), RECORDS))
    return AskedTask(task, backbone.tokens, 0), single(backbone.lm)


PROMPTS = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(3))


def test_objects_are_learned_to_their_end_token(tiny_gpt2: Path) -> None:
    asked, _ = _asked(tiny_gpt2, Objects(RANKED, 8))
    tokens = asked.filler.tokens
    for question in asked.learn:
        [row] = question.rows
        words = tokens.after(f" {question.record.answer}")
        assert row.answers == (*words, tokens.end_token)
        assert row.ids[row.targets[0] + 1 :] == tuple(words)


@pytest.mark.parametrize("first_weight", [1.0, 4.0])
def test_the_loss_is_a_weighted_mean_over_the_objects_tokens(tiny_gpt2, first_weight) -> None:
    asked, function = _asked(tiny_gpt2, Objects(RANKED, 8, first_weight=first_weight))
    [(batch, objective)] = Panels([asked]).batches(asked.learn)
    losses, _ = function.loss_and_gradient(batch, PROMPTS, objective)
    expected = []
    for row in batch.examples:
        embedded = function.engine.lm.model.get_input_embeddings()(torch.tensor(row.ids))
        for place, slot in enumerate(row.slots):
            if slot >= 0:
                embedded[place] = PROMPTS[0, slot]
        with torch.no_grad():
            logits = function.engine.lm.model(inputs_embeds=embedded[None]).logits[0]
        found = logits[list(row.targets)].log_softmax(-1)[range(len(row.answers)), row.answers]
        weights = torch.tensor([first_weight, *[1.0] * (len(row.answers) - 1)])
        expected.append(-(found * weights).sum() / weights.sum())
    torch.testing.assert_close(losses[0], torch.stack(expected).mean(), atol=1e-5, rtol=1e-5)


def test_shares_of_an_object_add_up_to_one() -> None:
    answered = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    shares = token_shares(answered, 2.0)
    expected = [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [2 / 3, 1 / 3, 0.0]]
    torch.testing.assert_close(shares, torch.tensor(expected))


def test_words_are_ranked_as_without_phrases_and_all_are_written_as_texts(tiny_gpt2) -> None:
    every, function = _asked(tiny_gpt2, Objects(RANKED, 5))
    found = Panels([every]).predict(Asker(function, PROMPTS), every.test)
    single_tokens = [i for i, record in enumerate(RECORDS) if " " not in (record.answer or "")]
    assert [i for i, each in enumerate(found) if each.ranks] == single_tokens

    ranked, _ = _asked(tiny_gpt2, RANKED)
    questions = ranked.questions([RECORDS[i] for i in single_tokens], "evaluate")
    alone = Panels([ranked]).predict(Asker(function, PROMPTS), questions)
    assert [found[i].ranks for i in single_tokens] == [each.ranks for each in alone]

    texts, _ = _asked(tiny_gpt2, Text(5))
    written = Panels([texts]).predict(Asker(function, PROMPTS), texts.test)
    assert [each.answer for each in found] == [each.answer for each in written]


def test_a_question_of_one_whose_object_is_not_known_is_written_alone(tiny_gpt2) -> None:
    asked, function = _asked(tiny_gpt2, Objects(RANKED, 3))
    unknown = Record("0", {"subject": "Norway"}, None)
    [question] = asked.questions([unknown], "evaluate")
    assert question.rows[0].answers == (NO_ANSWER,)
    [found] = Panels([asked]).predict(Asker(function, PROMPTS), [question])
    assert found.ranks is None and found.text is not None


def test_a_masked_model_is_refused_with_the_reason(tiny_bert: Path) -> None:
    with pytest.raises(UserError, match="--objects all needs a causal model"):
        _asked(tiny_bert, Objects(RANKED, 5))
