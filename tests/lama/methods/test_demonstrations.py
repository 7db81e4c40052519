"""Facts shown in front of a question."""

from ptune_scale.lama.methods import METHODS
from ptune_scale.lama.methods.demonstrations import chosen_facts, written_out
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
