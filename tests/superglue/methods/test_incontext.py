"""In-context learning: what it answers, on which models, and what its results say of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from ptune_scale.superglue.job import TaskJob, Trial
from ptune_scale.superglue.methods import METHODS
from ptune_scale.superglue.methods.incontext import packed_beginning
from ptune_scale.superglue.methods.untrained import best, zero_shot
from ptune_scale.task.filters import field_text
from ptune_scale.task.record import Record


def _trial(job: TaskJob) -> Trial:
    (result,) = METHODS["incontext"].run(job)
    (trial,) = result.trials.values()
    return trial


def _blocks(job: TaskJob, trial: Trial, write: Callable[[Record], str]) -> str:
    """The demonstrations of a trial, written by hand."""
    by_id = {record.id: record for record in job.task.splits.train}
    return "".join(write(by_id[each]) for each in trial["demonstrations"])


def test_words_are_scored_behind_the_training_records(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "BoolQ", demonstrations=3, max_length=80)
    trial = _trial(job)
    wording = job.task.manual[best(job, zero_shot(job))]
    words = {label: word for label, (word,) in wording.answer.words.items()}
    head, tail = wording.pattern.text.replace("...", "").split("[Y]")

    def ask(record: Record) -> str:
        return head.rstrip().format(**record.fields)

    front = _blocks(job, trial, lambda r: f"{ask(r)} {words[r.answer]}{tail}\n\n")
    tokenizer, network = job.backbone.tokens.tokenizer, job.backbone.load_model()
    ids = [tokenizer(" " + words[label])["input_ids"] for label in job.own.labels]
    assert [len(each) for each in ids] == [1, 1]
    expected = []
    for record in job.task.splits.test:
        with torch.no_grad():
            logits = network(**tokenizer(front + ask(record), return_tensors="pt")).logits[0, -1]
        expected.append(logits[[ids[0][0], ids[1][0]]].softmax(-1))
    assert front.count("\n\n") == 3
    assert_close(torch.tensor(trial["scores"]), torch.stack(expected), rtol=1e-4, atol=1e-4)
    assert trial["predictions"] == torch.stack(expected).argmax(-1).tolist()


def test_both_choices_are_scored_behind_the_same_records(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "COPA", demonstrations=2)
    trial = _trial(job)
    mark = '"' if best(job, zero_shot(job)) == "manual_0" else ""

    def options(r: Record) -> list[str]:
        return [field_text(f"{name}|clause", r.fields) for name in ("choice1", "choice2")]

    def ask(r: Record) -> str:
        one, other = options(r)
        joiner = {"cause": "because", "effect": "so"}[r.fields["question"]]
        either = f"{mark}{one}{mark} or {mark}{other}{mark}?"
        return f"{either} {field_text('premise|bare', r.fields)} {joiner}"

    front = _blocks(job, trial, lambda r: f"{ask(r)} {options(r)[int(r.answer)]}.\n\n")
    tokenizer, network = job.backbone.tokens.tokenizer, job.backbone.load_model()
    for record, scores in zip(job.task.splits.test, trial["scores"], strict=True):
        start = len(tokenizer(front + ask(record))["input_ids"])
        totals = []
        for option in options(record):
            ids = tokenizer(f"{front}{ask(record)} {option}", return_tensors="pt")["input_ids"]
            with torch.no_grad():
                logs = network(ids).logits[0].log_softmax(-1)
            totals.append(sum(logs[p - 1, ids[0, p]] for p in range(start, ids.shape[1])))
        expected = torch.stack(totals).softmax(0)
        assert_close(torch.tensor(scores), expected, rtol=1e-4, atol=1e-4)


def test_a_phrase_is_written_behind_records_whose_phrase_is_right(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "WSC", demonstrations=2)
    trial = _trial(job)
    right = {record.id for record in job.task.splits.train if record.answer == "True"}
    assert len(trial["demonstrations"]) == 2
    assert set(trial["demonstrations"]) <= right
    assert len(trial["texts"]) == len(job.task.splits.test)


def test_each_repetition_shows_other_records(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB", demonstrations=2, repetitions=3)
    (result,) = METHODS["incontext"].run(job)
    assert list(result.trials) == [f"incontext-seed{seed}" for seed in (42, 43, 44)]
    shown = [trial["demonstrations"] for trial in result.trials.values()]
    assert any(other != shown[0] for other in shown[1:])
    mean = sum(trial["test"]["accuracy"] for trial in result.trials.values()) / 3
    assert result.test["accuracy"] == pytest.approx(mean)


def test_fewer_fit_into_a_small_context_and_the_results_say_so(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "BoolQ", demonstrations=100)
    splits = job.task.splits
    job.tasks = [replace(job.task, splits=replace(splits, train=4 * splits.train))]
    (result,) = METHODS["incontext"].run(job)
    (trial,) = result.trials.values()
    count = len(trial["demonstrations"])
    assert 0 < count < 4 * len(splits.train)
    assert any(f"seed 42: {count} of 100 demonstrations" in note for note in job.notes)
    assert result.description.startswith(f"{count} training records in front")


def test_where_none_fits_it_is_left_out_with_a_note(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "BoolQ", max_length=400)
    [first, *_] = job.task.splits.test
    long = replace(first, fields={**first.fields, "passage": "cat " * 400})
    job.tasks = [replace(job.task, splits=replace(job.task.splits, test=(long,)))]
    assert METHODS["incontext"].run(job) == []
    assert any("0 of 8 demonstrations fit" in note for note in job.notes)


def test_a_masked_model_has_no_result_but_a_note(job_of, tiny_masked) -> None:
    job = job_of(tiny_masked, "CB")
    assert METHODS["incontext"].run(job) == []
    assert any(note.startswith("incontext: a masked model") for note in job.notes)


def test_sharing_the_beginning_changes_rounding_alone(job_of, tiny_causal, tmp_path) -> None:
    found, shared = [], []
    for speed in ("auto", "plain"):
        out = str(tmp_path / speed)
        job = job_of(tiny_causal, "CB", speed=speed, output_dir=out, eval_batch_tokens=300)
        found.append(torch.tensor(_trial(job)["scores"]))
        shared.append(packed_beginning(job, job.asked(beginnings=[range(200)])[0]))
    assert shared == [200, 0]
    assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
