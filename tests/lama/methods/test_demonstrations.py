"""Facts shown in front of a question."""

import pytest

from ptune_scale.lama.methods import METHODS
from ptune_scale.lama.methods.demonstrations import (
    chosen_facts,
    nearest,
    with_retrieved,
    written_out,
)
from ptune_scale.lama.methods.wordings import demonstrated
from ptune_scale.task.record import Record


def fact(subject: str, answer: str) -> Record:
    return Record(subject, {"subject": subject}, answer)


def test_each_fact_shown_has_an_object_of_its_own_and_no_notation() -> None:
    facts = [fact(f"{name}{number}", name) for name in ("Oslo", "Paris") for number in range(8)]
    facts += [fact("a [P] b", "Rome"), fact("{c}", "Bern")]
    found = chosen_facts(facts, 4)
    assert {each.answer for each in found} == {"Oslo", "Paris"}
    assert chosen_facts(facts[::-1], 4) == found
    assert len(chosen_facts(facts, 1)) == 1
    assert not chosen_facts(facts[:3], 4)


def test_facts_are_written_in_the_words_of_the_manual_prompt() -> None:
    text = written_out([fact("Norway", "Oslo"), fact("Italy", "Rome")], "[X] has [Y] .")
    assert text == "Norway has Oslo. Italy has Rome."


def test_slots_stand_behind_what_is_shown_and_are_trained(job_of, tiny_gpt2) -> None:
    job = job_of(tiny_gpt2, method="ptuning_demonstrated", demonstrations=1)
    [pattern] = {demonstrated(t, job.config, job.backbone.tokens).pattern for t in job.tasks[:1]}
    [shown] = chosen_facts(job.tasks[0].splits.train, 1)
    subject = shown.fields["subject"]
    assert pattern.text == f"the capital of {subject} is {shown.answer}. [P]*2 [X] [Y]"
    [result] = METHODS["ptuning_demonstrated"].run(job)
    assert len(result.predictions["P36"]) == len(job.tasks[0].splits.test)


def test_nothing_is_trained_in_context(job_of, tiny_gpt2) -> None:
    job = job_of(tiny_gpt2, method="incontext", demonstrations=1)
    [result] = METHODS["incontext"].run(job)
    assert not job.training and result.name == "incontext"


def test_facts_about_subjects_that_are_spelled_alike_come_first_and_none_about_the_same() -> None:
    facts = [
        fact(name, "x") for name in ("Nintendo 64", "Lake Geneva", "Nintendo DS", "Mont Blanc")
    ]
    [(places, alike)] = nearest(facts, [fact("Nintendo 64", "y")])
    assert 0 not in places and places[0] == 2
    assert alike[0] == pytest.approx(1) and alike[3] < alike[2] < 1
    assert list(nearest(facts, [])) == []


def test_each_question_has_its_own_facts_in_front_the_most_alike_last(job_of, tiny_gpt2) -> None:
    job = job_of(tiny_gpt2, method="ptuning_retrieved", demonstrations=2)
    job.tasks = [with_retrieved(task, 2) for task in job.tasks]
    task = job.tasks[0]
    record = task.splits.test[0]
    [(places, _)] = nearest(task.splits.train, [record])
    first, second = (task.splits.train[i] for i in places[:2])
    shown = written_out([second, first], task.manual["manual"].pattern.text)
    assert record.fields["retrieved"] == shown
    for fact_shown in (*task.splits.train, *task.splits.dev):
        assert f" {fact_shown.id} " not in fact_shown.fields["retrieved"]
    [result] = METHODS["ptuning_retrieved"].run(job)
    assert len(result.predictions["P36"]) == len(task.splits.test)
    [untrained, vote] = METHODS["incontext_retrieved"].run(job)
    assert untrained.name == "incontext_retrieved" and vote.control
    [found] = [p for p in vote.predictions["P36"][:1]]
    assert found.answer in {each.answer for each in task.splits.train}
