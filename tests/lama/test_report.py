"""Results of relations: what is in results.json, the table and predictions.jsonl."""

import json

import pytest

from ptune_scale.lama import report
from ptune_scale.lama.scores import build_results
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.tune.job import MethodResult


@pytest.fixture
def job(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, method="manual,ptuning")
    job.dropped.update({"bad record": 2})
    job.training["ptuning"] = {
        "losses": [2.0, 1.0],
        "best_visit_of_task": {"P36": 2, "P30": 1},
        "throughput": {"records_per_second": 3.0},
    }
    return job


def without_intervals(cell: dict) -> dict:
    return {name: value for name, value in cell.items() if name != "interval"}


def results(job, **ranks: int) -> list[MethodResult]:
    """Methods whose answers have the same rank everywhere, twice that among typed objects."""
    return [
        MethodResult(
            name,
            f"described {name}",
            {
                task.name: [
                    Prediction("Oslo", 0.5, ranks={"full_vocab": rank, "relation": 2 * rank})
                    for _ in task.splits.test
                ]
                for task in job.tasks
            },
            control=name == "majority",
        )
        for name, rank in ranks.items()
    ]


def test_scores_are_by_relation_by_candidates_and_in_the_words_of_facts(job):
    found = build_results(job, results(job, majority=20, manual=4, ptuning=1))
    assert (list(found["methods"]), list(found["controls"])) == (
        ["manual", "ptuning"],
        ["majority"],
    )
    tuned = found["methods"]["ptuning"]
    first = {"p_at_1": 1.0, "p_at_10": 1.0, "mrr": 1.0, "facts": 4}
    assert {k: without_intervals(v) for k, v in tuned["relations"].items()} == {
        "P36": first,
        "P30": first,
    }
    assert without_intervals(tuned["micro"]) == {**first, "facts": 8}
    assert without_intervals(tuned["macro"]) == {**first, "facts": 8}
    typed = tuned["by_candidates"]["relation"]["micro"]
    assert without_intervals(typed) == {"p_at_1": 0.0, "p_at_10": 1.0, "mrr": 0.5, "facts": 8}
    low, high = tuned["micro"]["interval"]["p_at_1"]
    assert (low, high) == pytest.approx((0.6756, 1.0), abs=1e-4)  # Wilson's for 8 of 8
    assert found["methods"]["manual"]["micro"]["mrr"] == 0.25
    assert found["training"] == tuned["training"]
    assert tuned["training"] == {
        "losses": [2.0, 1.0],
        "best_visit_of_relation": {"P36": 2, "P30": 1},
    }
    assert found["throughput"] == tuned["throughput"] == {"facts_per_second": 3.0}
    assert found["dropped_facts"] == {"bad record": 2}
    assert found["candidates"] == "full_vocab" and found["config"]["data"]["dev_facts"] == 1
    # All objects of the test were seen in training.
    assert tuned["unseen_objects"]["facts"] == 0 and tuned["seen_objects"]["facts"] == 8
    assert tuned["gain"]["p_at_1"]["relations"]["P36"]["value"] == 1.0
    assert "gain" not in found["methods"]["manual"] and "gain" not in found["controls"]["majority"]


def test_the_table_has_a_column_of_gains(job):
    found = build_results(job, results(job, majority=20, manual=4, ptuning=1))
    [table] = report.tables(found)
    assert table.head == ["relation", "facts", "manual", "ptuning", "majority", "gain"]
    sure, never = "100.0 [51.0, 100.0]", "0.0 [0.0, 49.0]"
    assert table.rows[0] == ["P36", "4", never, sure, never, "+100.0"]
    assert table.rows[-1][:2] == ["macro", "8"]
    alone = build_results(job, results(job, ptuning=1))
    assert "gain" not in report.tables(alone)[0].head
    assert "dropped: 2 x bad record" in report.notes(found)


def test_everything_is_written(job):
    answered = results(job, manual=4, ptuning=1)
    report.write(job, answered, build_results(job, answered))
    lines = [json.loads(x) for x in (job.output / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 16
    assert lines[8] == {
        "task": "P36",
        "id": "the Norway",
        "method": "ptuning",
        "answer": "Oslo",
        "expected": "Oslo",
        "correct": True,
        "score": 0.5,
    }
    assert (job.output / "plots" / "p_at_1.png").is_file()
    assert "Exact" not in (job.output / "results.md").read_text()
    assert "<table>" in (job.output / "report.html").read_text()


def test_of_phrases_the_exact_match_is_reported_and_of_words_the_rank_too(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, objects="all", method="manual")
    [result] = results(job, manual=1)
    # One fact of four whose object could not be ranked.
    result.predictions["P36"][0] = Prediction("Stockholm", 0.5)
    found = build_results(job, [result])
    scores = found["methods"]["manual"]["relations"]["P36"]
    assert (scores["facts"], scores["all_facts"], scores["p_at_1"]) == (3, 4, 1.0)
    right = sum(record.answer == "Oslo" for record in job.tasks[0].splits.test[1:])
    assert scores["exact_match"] == right / 4
    assert [table.title for table in report.tables(found)] == ["", "Exact match of whole phrases:"]
