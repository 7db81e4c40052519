"""A tuned prompt asked from Python: the same answers as in the run, and whole words."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import single
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.answers.text import Text
from ptune_scale.task.ask import Asker
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.use.export import ExportedTask, PromptExport
from ptune_scale.use.prompt import TunedPrompt, load_prompt

Export = Callable[..., PromptExport]
PLACES = ["Norway", "the city of Rome", "Spain.", "a city near Berlin"]


def _fields(kind: str, place: str) -> dict[str, str]:
    return {"subject" if kind == "whole" else "a": place, "b": "Madrid of Spain", "c": "Paris"}


def _row(kind: str, place: str) -> dict[str, str]:
    """The same as a file has it, whose column "text" is the field "a"."""
    fields = _fields(kind, place)
    return {"task": kind, **{"text" if name == "a" else name: fields[name] for name in fields}}


def _live(
    wordings: Mapping[str, Wording], names: Sequence[str], backbone: Backbone, prompts: Tensor
) -> list[list[Prediction]]:
    """Predictions of the tasks as a run makes them, with all of their answers known."""
    tasks = []
    for index, name in enumerate(names):
        records = tuple(Record(place, _fields(name, place), None) for place in PLACES)
        task = Task(name, wordings[name], Splits((), (), records), max_length=40)
        tasks.append(AskedTask(task, backbone.tokens, index))
    asker = Asker(single(backbone.lm), prompts)
    found = Panels(tasks).predict(asker, [question for task in tasks for question in task.test])
    return [found[i : i + len(PLACES)] for i in range(0, len(found), len(PLACES))]


def test_a_loaded_prompt_answers_as_it_did_in_the_run(
    export_of: Export, wordings, backbone: Backbone, tmp_path: Path
) -> None:
    export = export_of(*wordings)
    export.save(tmp_path)
    prompt = load_prompt(tmp_path)
    live = _live(wordings, list(wordings), backbone, export.prompts)
    together = prompt.predict([_row(name, place) for place in PLACES for name in wordings])
    for place, expected in enumerate(live):
        found = together[place :: len(wordings)]
        assert [(f.answer, f.text) for f in found] == [(f.answer, f.text) for f in expected]
        scores = [f.score for f in expected]
        assert [f.score for f in found] == pytest.approx(scores, rel=1e-3)
    rows = [Record("0", _fields("words", place), None) for place in PLACES]
    assert prompt.predict(rows, "ALL of words") == prompt.predict(rows, "words")
    assert [f.answer for f in prompt.predict(rows, "words")] == [f.answer for f in live[0]]


def test_a_prompt_of_one_task_needs_no_name(export_of: Export, backbone: Backbone) -> None:
    prompt = TunedPrompt(export_of("words"), backbone)
    rows = [{"text": "Norway"}, {"text": "Rome", "task": "anything", "label": "west"}]
    assert {found.answer for found in prompt.predict(rows)} <= {"north", "south"}
    assert prompt.predict([]) == [] == prompt.generate([])


def test_texts_are_generated(export_of: Export, backbone: Backbone) -> None:
    prompt = TunedPrompt(export_of("text", "words"), backbone)
    rows = [{"text": place, "task": "text"} for place in PLACES]
    assert prompt.generate(rows) == [found.answer for found in prompt.predict(rows)]
    assert prompt.generate(iter(rows), "text") == prompt.generate(rows)
    with pytest.raises(UserError, match="answers of task words are words, not texts; use predict"):
        prompt.generate([{"text": "Rome", "task": "words"}])


@pytest.mark.parametrize(
    ("row", "task", "message"),
    [
        ({"text": "Rome"}, None, "the prompt has several tasks: name one"),
        ({"text": "Rome", "task": "other"}, None, "has no task 'other'; it has words, choices"),
        ({"text": "Rome"}, "other", "has no task 'other'"),
        ({"b": "Rome"}, "words", "record 0: no field 'text'; it has b"),
        ({"text": "Rome " * 60}, "words", "tokens too long for the 40 of max_length"),
    ],
)
def test_records_that_cannot_be_asked_are_refused(
    row: dict[str, Any], task: str | None, message: str, export_of: Export, backbone: Backbone
) -> None:
    prompt = TunedPrompt(export_of("words", "choices"), backbone)
    with pytest.raises(UserError, match=message):
        prompt.predict([row], task)


def test_another_backbone_is_refused(export_of: Export, tiny_bert: Path, tmp_path: Path) -> None:
    export = export_of("words")
    with pytest.raises(UserError, match="trained with another model than"):
        TunedPrompt(export, load_backbone(str(tiny_bert)))
    dataclasses.replace(export, fingerprint="0" * 64).save(tmp_path)
    with pytest.raises(UserError, match="give the one it was trained with by --model"):
        load_prompt(tmp_path)
    dataclasses.replace(export, model="nowhere").save(tmp_path)
    assert load_prompt(tmp_path, model=export.model).predict([{"text": "Rome"}])


@pytest.fixture(scope="module")
def romeo(backbone: Backbone) -> Tensor:
    """A prompt that was tuned to answer "Romeo", which is two tokens, and its end token."""
    wording = Wording(Pattern.parse("[X] is [P]*8 [Y]"), Text(6))
    records = tuple(Record(str(i), {"subject": p}, "Romeo") for i, p in enumerate(PLACES))
    task = AskedTask(Task("t", wording, Splits(records, (), records)), backbone.tokens, 0)
    assert len(task.learn[0].rows[0].answers) == 3
    prompts = torch.zeros(1, 8, 32).normal_(generator=torch.Generator().manual_seed(0))
    prompts.requires_grad_()
    adam = torch.optim.Adam([prompts], lr=0.1)
    [(batch, objective)] = Panels([task]).batches(task.learn)
    for _ in range(200):
        losses, prompts.grad = single(backbone.lm).loss_and_gradient(
            batch, prompts.detach(), objective
        )
        adam.step()
    assert float(losses) < 0.4
    return prompts.detach()


def _export(prompts: Tensor, backbone: Backbone, answer) -> PromptExport:
    wording = Wording(Pattern.parse("[X] is [P]*8 [Y]"), answer)
    task = ExportedTask("t", "kind", wording)
    return PromptExport(prompts, (task,), backbone.name, backbone.fingerprint)


def test_an_answer_is_a_whole_word_and_no_piece_of_one(
    romeo: Tensor, backbone: Backbone, wordings
) -> None:
    for answer in (Text(6), wordings["whole"].answer, wordings["phrases"].answer):
        prompt = TunedPrompt(_export(romeo, backbone, answer), backbone)
        found = prompt.answer(" Norway ", "kind", k=4)
        assert found[0].text == "Romeo" and found[0].probability > 0.3
        assert len({phrase.text for phrase in found}) == 4
        shares = [phrase.probability for phrase in found]
        assert shares == sorted(shares, reverse=True) and sum(shares) <= 1.001
    written = TunedPrompt(_export(romeo, backbone, Text(6)), backbone)
    [text] = written.predict([{"subject": "Norway"}])
    likeliest = written.answer("Norway")[0]
    assert (likeliest.text, likeliest.probability) == (text.answer, pytest.approx(text.score))


def test_a_saved_prompt_answers_as_before(
    romeo: Tensor, backbone: Backbone, tmp_path: Path, wordings
) -> None:
    export = _export(romeo, backbone, wordings["whole"].answer)
    export.save(tmp_path)
    expected = TunedPrompt(export, backbone).answer("Dante")
    assert len(expected) == 5
    assert load_prompt(tmp_path).answer("Dante") == expected


def test_a_masked_model_answers_with_its_likeliest_whole_words(tiny_bert: Path, wordings) -> None:
    bert = load_backbone(str(tiny_bert))
    prompts = torch.randn(1, 8, 32, generator=torch.Generator().manual_seed(0))
    prompt = TunedPrompt(_export(prompts, bert, wordings["whole"].answer), bert)
    found = prompt.answer("Norway", k=4)
    [task] = prompt.tasks
    question = task.questions([Record("0", {"subject": "Norway"}, None)], "evaluate")[0]
    [(batch, _)] = Panels([task]).batches([question])
    with torch.no_grad():
        shares = bert.lm(batch, prompts)[0, 0].softmax(-1)
    words = [bert.tokens.tokenizer.decode([token]) for token in range(len(shares))]
    whole = [i for i, word in enumerate(words) if bert.tokens.word_token(word) == i]
    best = sorted(whole, key=lambda i: -float(shares[i]))[: len(found)]
    assert found and [each.text for each in found] == [words[i] for i in best]
    assert [each.probability for each in found] == pytest.approx(shares[best].tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("subject", "task", "message"),
    [
        ("  ", "whole", "the subject is empty"),
        ("Norway", "other", "has no task 'other'"),
        ("Norway", None, "has several tasks"),
        ("Norway", "words", "task words asks about a and answers by words; use predict"),
        ("Norway", "choices", "answers by choices; use predict"),
    ],
)
def test_what_has_no_open_answer_is_refused(
    subject: str, task: str | None, message: str, export_of: Export, backbone: Backbone
) -> None:
    prompt = TunedPrompt(export_of("whole", "words", "choices"), backbone)
    with pytest.raises(UserError, match=message):
        prompt.answer(subject, task)


def test_half_a_surrogate_pair_is_no_text(export_of, backbone) -> None:
    prompt = TunedPrompt(export_of("text"), backbone)
    with pytest.raises(UserError, match="the subject .* is not UTF-8"):
        prompt.answer("a\udcff")
    with pytest.raises(UserError, match="record 0: field 'text' is not UTF-8"):
        prompt.predict([{"text": "\ud800"}])
