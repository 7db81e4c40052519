"""The manual prompt in its readings, and the commonest object."""

from collections import Counter

import pytest
import torch

from ptune_scale.lama.methods import METHODS

MODELS = ["tiny_gpt2", "tiny_bert"]


@pytest.mark.parametrize("model", MODELS)
def test_a_prompt_is_read_with_and_without_a_space_behind_it(model, job_of, request):
    job = job_of(request.getfixturevalue(model), method="manual", relations="P36")
    results = METHODS["manual"].run(job)
    tokens, network = job.backbone.tokens, job.backbone.lm.model
    prefix, suffix = tokens.special_ends
    ends = {"manual": "", "manual_train_objects": "", "manual_trailing_space": " "}
    if model == "tiny_bert":
        del ends["manual_trailing_space"]
    assert [result.name for result in results] == list(ends)
    assert [result.control for result in results] == [name != "manual" for name in ends]
    [task] = job.tasks
    own = tokens.word_tokens(record.answer for record in task.splits.train)
    for result in results:
        found = zip(task.splits.test, result.predictions["P36"], strict=True)
        for record, prediction in found:
            text = f"the capital of {record.fields['subject']} is"
            ids = [*prefix, *tokens.start(text + ends[result.name])]
            target = len(ids) - 1
            if tokens.kind == "masked":
                target += 1
                ids += [tokens.mask_token, *tokens.after(" ."), *suffix]
            with torch.no_grad():
                logits = network(torch.tensor([ids])).logits[0, target]
            typed = result.name == "manual_train_objects"
            words = torch.tensor(own if typed else range(len(logits)))
            gold = logits[tokens.word_token(record.answer)]
            assert prediction.ranks["full_vocab"] == 1 + int((logits[words] > gold).sum())
            assert prediction.answer == tokens.text(int(words[logits[words].argmax()]))


def test_the_commonest_objects_stand_first_and_those_never_seen_last(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, method="manual", candidates="full_vocab")
    [result] = METHODS["majority"].run(job)
    assert result.control
    for task in job.tasks:
        counts = Counter(record.answer for record in (*task.splits.train, *task.splits.dev))
        for record, found in zip(task.splits.test, result.predictions[task.name], strict=True):
            assert counts[found.answer] == max(counts.values())
            assert list(found.ranks) == ["full_vocab", "relation"]
            if record.answer not in counts:
                assert set(found.ranks.values()) == {job.backbone.vocab_size + 1}
            else:
                better = sum(n > counts[record.answer] for n in counts.values())
                assert better < found.ranks["full_vocab"] <= len(counts)


def test_phrases_of_a_manual_prompt_end_at_a_punctuation_mark(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, method="manual", objects="all")
    [manual] = METHODS["manual"].run(job)
    [majority] = METHODS["majority"].run(job)
    for result in (manual, majority):
        for task in job.tasks:
            found = result.predictions[task.name]
            assert len(found) == len(task.splits.test) and all(each.ranks for each in found)
            assert not any(mark in each.answer for each in found for mark in ".,;(\n")
