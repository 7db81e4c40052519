"""AutoPrompt as a method: what is found, written, scored and gone on from."""

import itertools
import json
import signal
from dataclasses import replace

import pytest

from ptune_scale.errors import UserError
from ptune_scale.lama.methods import autoprompt
from ptune_scale.lama.methods.trigger_search import TriggerSearch, allowed_words
from ptune_scale.parallel import Stopped
from ptune_scale.task.answers.answer import Question
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import Example
from ptune_scale.train import checkpoint

MODELS = ["tiny_gpt2", "tiny_bert"]
FEW = {
    "method": "autoprompt",
    "autoprompt_words": 2,
    "autoprompt_steps": 6,
    "autoprompt_candidates": 4,
    "autoprompt_facts": 2,
}


def written(job):  # noqa: ANN001, ANN201
    lines = (job.output / "autoprompt" / "prompts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("model", MODELS)
def test_what_is_scored_are_the_words_that_are_written(model, job_of, request) -> None:
    job = job_of(request.getfixturevalue(model), **FEW)
    (result,) = autoprompt.run(job)
    lines = {line["relation"]: line for line in written(job)}
    assert result.wordings == {name: line["template"] for name, line in lines.items()}
    tokens = job.backbone.tokens
    prefix, suffix = tokens.special_ends

    def with_its_words(task: AskedTask) -> list[Question]:
        line, questions = lines[task.task.name], []
        assert line["dev_loss"] <= line["first_dev_loss"]
        for question in task.test:
            ids = [*prefix, *tokens.start(question.record.fields["subject"]), *line["tokens"]]
            target = len(ids) - 1
            if tokens.kind == "masked":
                target += 1
                ids += [tokens.mask_token, *tokens.after(" ."), *suffix]
            slots = (-1,) * len(ids)
            row = Example(task.index, tuple(ids), slots, (target,), question.rows[0].answers)
            questions.append(Question(question.record, (row,)))
        return questions

    found = job.answers(job.asked(), job.no_prompts, "test", part=with_its_words)
    assert found == result.predictions


def test_all_allowed_words_may_be_tried_but_no_training_answer(
    job_of, tiny_bert, monkeypatch
) -> None:
    job = job_of(tiny_bert, **{**FEW, "autoprompt_steps": 1, "autoprompt_candidates": 1000})
    # A word in small letters, which no other rule keeps out.
    for place, task in enumerate(job.tasks):
        train = (replace(task.splits.train[0], answer="located"), *task.splits.train[1:])
        job.tasks[place] = replace(task, splits=replace(task.splits, train=train))
    tried: list[set[int]] = []
    plain = TriggerSearch.proposals

    def noted(self, gradient, current):  # noqa: ANN001, ANN202
        found = plain(self, gradient, current)
        tried.append({*found, current})
        return found

    monkeypatch.setattr(TriggerSearch, "proposals", noted)
    autoprompt.run(job)
    tokens = job.backbone.tokens
    allowed = allowed_words(tokens, job.backbone.embeddings.size).nonzero().flatten().tolist()
    assert tokens.word_token("located") in allowed
    for words, task in zip(tried, job.tasks, strict=True):
        learned = (*task.splits.train, *task.splits.dev)
        answers = {tokens.word_token(record.answer) for record in learned}
        assert tokens.word_token("located") in answers
        assert words == set(allowed) - answers


def test_a_search_that_was_stopped_goes_on_where_it_was(job_of, tiny_gpt2, monkeypatch) -> None:
    whole = job_of(tiny_gpt2, **FEW)
    (expected,) = autoprompt.run(whole)
    lines = written(whole)
    for path in (whole.output / "autoprompt").glob("**/step-*/*"):
        path.unlink()

    stopped = job_of(tiny_gpt2, **FEW)
    plain_check = stopped.stop.check
    steps = itertools.count(1)

    def check_after_a_signal() -> None:
        if next(steps) == 9:  # in the second relation
            stopped.stop._note(signal.SIGTERM, None)
        plain_check()

    monkeypatch.setattr(stopped.stop, "check", check_after_a_signal)
    with pytest.raises(Stopped):
        autoprompt.run(stopped)
    path = checkpoint.find(stopped.output)
    assert checkpoint.method_of(path) == "autoprompt"
    assert list(checkpoint.load_part(path, "relations")) == ["P36"]

    again = job_of(tiny_gpt2, **FEW, resume_from=str(stopped.output))
    searched: list[str] = []
    plain = TriggerSearch.run

    def noted(self, *arguments):  # noqa: ANN001, ANN002, ANN202
        searched.append(self._order.task_id)
        return plain(self, *arguments)

    monkeypatch.setattr(TriggerSearch, "run", noted)
    (result,) = autoprompt.run(again)
    assert searched == ["P30"]
    assert result == expected and written(again) == lines

    other = job_of(tiny_gpt2, **{**FEW, "autoprompt_steps": 7}, resume_from=str(stopped.output))
    with pytest.raises(UserError, match="autoprompt_steps was 6, is 7"):
        autoprompt.run(other)
