"""In-context learning: what it answers, on which models, and what its results say of it."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from ptune_scale.superglue.methods import METHODS, incontext, manual


def _blocks(job, trial, write) -> str:  # noqa: ANN001
    """The demonstrations of a trial, written by hand."""
    by_idx = {record.idx: record for record in job.train}
    return "".join(write(by_idx[tuple(idx)]) for idx in trial["demonstrations"])


def test_words_are_scored_behind_the_training_records(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "BoolQ", demonstrations=3, max_length=80)
    (result,) = METHODS["incontext"](job)
    (trial,) = result.trials.values()
    name = manual.best(job, manual.zero_shot(job))
    words = list(job.task.patterns[name].words.values())  # of False, True
    head, tail = job.task.patterns[name].text.replace("...", "").split("[Y]")

    def ask(record) -> str:  # noqa: ANN001
        return head.rstrip().format(passage=record.passage, question=record.question)

    front = _blocks(job, trial, lambda r: f"{ask(r)} {words[r.label]}{tail}\n\n")
    tokenizer, network = job.backbone.tokens.tokenizer, job.backbone.load_model()
    ids = [tokenizer(" " + word)["input_ids"] for word in words]
    assert [len(each) for each in ids] == [1, 1]
    expected = []
    for record in job.test:
        with torch.no_grad():
            logits = network(**tokenizer(front + ask(record), return_tensors="pt")).logits[0, -1]
        expected.append(logits.log_softmax(-1)[[ids[0][0], ids[1][0]]])
    assert front.count("\n\n") == 3
    assert_close(torch.tensor(trial["scores"]), torch.stack(expected), rtol=1e-4, atol=1e-4)
    assert trial["predictions"] == torch.stack(expected).argmax(-1).tolist()


def test_both_choices_are_scored_behind_the_same_records(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "COPA", demonstrations=2)
    (result,) = METHODS["incontext"](job)
    (trial,) = result.trials.values()
    quoted = manual.best(job, manual.zero_shot(job)) == "manual_0"
    mark = '"' if quoted else ""

    def ask(r) -> str:  # noqa: ANN001
        either = f"{mark}{r.option1}{mark} or {mark}{r.option2}{mark}?"
        return f"{either} {r.clause} {r.joiner}"

    front = _blocks(job, trial, lambda r: f"{ask(r)} {(r.option1, r.option2)[r.label]}.\n\n")
    tokenizer, network = job.backbone.tokens.tokenizer, job.backbone.load_model()
    for record, scores in zip(job.test, trial["scores"], strict=True):
        start = len(tokenizer(front + ask(record))["input_ids"])
        for option, score in zip((record.option1, record.option2), scores, strict=True):
            ids = tokenizer(f"{front}{ask(record)} {option}", return_tensors="pt")["input_ids"]
            with torch.no_grad():
                logits = network(ids).logits[0].log_softmax(-1)
            total = sum(logits[place - 1, ids[0, place]] for place in range(start, ids.shape[1]))
            assert_close(torch.tensor(score), total, rtol=1e-4, atol=1e-4)


def test_a_phrase_is_written_behind_records_whose_phrase_is_right(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "WSC", demonstrations=2)
    (result,) = METHODS["incontext"](job)
    (trial,) = result.trials.values()
    right = {record.idx for record in job.train if record.label == 1}
    assert len(trial["demonstrations"]) == 2
    assert {tuple(idx) for idx in trial["demonstrations"]} <= right
    assert len(trial["texts"]) == len(job.test)


def test_each_repetition_shows_other_records(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB", demonstrations=2, repetitions=3)
    (result,) = METHODS["incontext"](job)
    assert list(result.trials) == [f"incontext-seed{seed}" for seed in (42, 43, 44)]
    shown = [trial["demonstrations"] for trial in result.trials.values()]
    assert any(other != shown[0] for other in shown[1:])
    mean = sum(trial["test"]["accuracy"] for trial in result.trials.values()) / 3
    assert result.test["accuracy"] == pytest.approx(mean)


def test_fewer_fit_into_a_small_context_and_the_results_say_so(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "BoolQ", demonstrations=100)
    job.train = 4 * job.train
    (result,) = METHODS["incontext"](job)
    (trial,) = result.trials.values()
    count = len(trial["demonstrations"])
    assert 0 < count < len(job.train)
    assert any(f"seed 42: {count} of 100 demonstrations" in note for note in job.notes)
    assert result.description.startswith(f"{count} training records in front")


def test_where_none_fits_it_is_left_out_with_a_note(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "BoolQ", max_length=400)
    job.test = [replace(job.test[0], passage="cat " * 400)]
    assert METHODS["incontext"](job) == []
    assert any("0 of 8 demonstrations fit" in note for note in job.notes)


def test_a_masked_model_has_no_result_but_a_note(job_of, tiny_masked) -> None:
    job = job_of(tiny_masked, "CB")
    assert incontext.run(job) == []
    assert any(note.startswith("incontext: a masked model") for note in job.notes)


def test_sharing_the_beginning_changes_rounding_alone(job_of, tiny_causal, tmp_path) -> None:
    found, batches = [], []
    for packing in ("on", "off"):
        out = str(tmp_path / packing)
        job = job_of(tiny_causal, "CB", packing=packing, output_dir=out, eval_batch_tokens=300)
        (result,) = METHODS["incontext"](job)
        (trial,) = result.trials.values()
        found.append(torch.tensor(trial["scores"]))
        shared = job.problem(job.encoder(job.pattern(), range(200))).predictor.shared_tokens
        batches.append(shared)
    assert batches == [200, 0]
    assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
