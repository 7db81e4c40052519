"""AutoPrompt as a method: what is found, written, scored and gone on from."""

import itertools
import json
import signal

import pytest
import torch

from ptune_scale import checkpoint
from ptune_scale.data.batch import Example
from ptune_scale.data.prompts import read_autoprompt, word_template
from ptune_scale.errors import UserError
from ptune_scale.methods import METHODS, autoprompt
from ptune_scale.parallel import Stopped
from ptune_scale.trigger_search import TriggerSearch, allowed_words

MODELS = ["tiny_gpt2", "tiny_bert"]
FEW = {
    "method": "autoprompt",
    "autoprompt_words": 2,
    "autoprompt_steps": 6,
    "autoprompt_candidates": 4,
    "autoprompt_facts": 2,
}


def written(job):  # noqa: ANN001, ANN201
    lines = (job.output_dir / "autoprompt" / "prompts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("model", MODELS)
def test_what_is_scored_are_the_words_that_are_written(model, job_of, request) -> None:
    job = job_of(request.getfixturevalue(model), **FEW)
    (result,) = autoprompt.run(job)
    lines = written(job)
    tokens = job.tokens
    prefix, suffix = tokens.special_ends
    examples = []
    for index, (relation, line) in enumerate(zip(job.facts.relations, lines, strict=True)):
        assert line["relation"] == relation.id
        assert line["dev_loss"] <= line["first_dev_loss"]
        for fact in relation.test:
            ids = [*prefix, *tokens.start(fact.subject), *line["tokens"]]
            target = len(ids) - 1
            if tokens.kind == "masked":
                target += 1
                ids += [tokens.mask_token, *tokens.after(" ."), *suffix]
            slots = (-1,) * len(ids)
            examples.append(Example(index, tuple(ids), slots, (target,), fact.label))
    assert torch.equal(job.rank(examples, job.no_prompts, "test")[:, 0], result.ranks)
    assert result.prompts == {line["relation"]: line["template"] for line in lines}


def test_all_allowed_words_may_be_tried_but_no_training_answer(
    job_of, tiny_bert, monkeypatch
) -> None:
    job = job_of(tiny_bert, **{**FEW, "autoprompt_steps": 1, "autoprompt_candidates": 1000})
    # A word in small letters, which no other rule keeps out.
    answer = job.tokens.word_token("located")
    for relation in job.facts.relations:
        object.__setattr__(relation.train[0], "label", answer)
    tried: list[set[int]] = []
    plain = TriggerSearch.proposals

    def noted(self, gradient, current):  # noqa: ANN001, ANN202
        found = plain(self, gradient, current)
        tried.append({*found, current})
        return found

    monkeypatch.setattr(TriggerSearch, "proposals", noted)
    autoprompt.run(job)
    allowed = allowed_words(job.tokens, job.backbone.embeddings.size).nonzero().flatten().tolist()
    for words, relation in zip(tried, job.facts.relations, strict=True):
        assert answer in relation.train_objects and answer in allowed
        assert words == set(allowed) - set(relation.train_objects)


def test_what_was_found_can_be_read_as_published_prompts(job_of, tiny_gpt2) -> None:
    job = job_of(tiny_gpt2, **FEW)
    (found,) = autoprompt.run(job)
    directory = job.output_dir / "autoprompt"
    (directory / "prompts.jsonl").rename(directory / "autoprompt_bert.jsonl")
    again = job_of(tiny_gpt2, method="autoprompt_bert", prompts_dir=str(directory))
    (read,) = METHODS["autoprompt_bert"](again)
    assert read.prompts == found.prompts
    texts = read_autoprompt(directory, "bert", ["P36", "P30"])
    subject = "Norway"
    for line in map(json.loads, (directory / "autoprompt_bert.jsonl").read_text().splitlines()):
        template = word_template(texts[line["relation"]].text, "causal")
        cloze = template.render(subject, job.tokens)
        spelled = job.tokens.tokenizer.decode([*job.tokens.start(subject), *line["tokens"]])
        assert job.tokens.tokenizer.decode(cloze.ids) == spelled


def test_a_search_that_was_stopped_goes_on_where_it_was(job_of, tiny_gpt2, monkeypatch) -> None:
    whole = job_of(tiny_gpt2, **FEW)
    (expected,) = autoprompt.run(whole)
    lines = written(whole)
    for path in (whole.output_dir / "autoprompt").glob("**/step-*/*"):
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
    path = checkpoint.find(stopped.output_dir)
    assert checkpoint.method_of(path) == "autoprompt"
    assert list(checkpoint.load_part(path, "relations")) == ["P36"]

    again = job_of(tiny_gpt2, **FEW, resume_from=str(stopped.output_dir))
    searched: list[str] = []
    plain = TriggerSearch.run

    def noted(self, *arguments):  # noqa: ANN001, ANN002, ANN202
        searched.append(self._order.relation_id)
        return plain(self, *arguments)

    monkeypatch.setattr(TriggerSearch, "run", noted)
    (result,) = autoprompt.run(again)
    assert searched == ["P30"]
    assert torch.equal(result.ranks, expected.ranks) and written(again) == lines

    other = job_of(tiny_gpt2, **{**FEW, "autoprompt_steps": 7}, resume_from=str(stopped.output_dir))
    with pytest.raises(UserError, match="autoprompt_steps was 6, is 7"):
        autoprompt.run(other)
