"""The paper's tables as data: whole, consistent in themselves, and what the jobs can be told."""

import re
from collections import Counter

import pytest

from ptune_scale.errors import UserError
from ptune_scale.experiments.paper.jobs import PaperConfig, PaperRequest
from ptune_scale.experiments.paper.rows import AVERAGE, METRICS, find_row, models, rows
from ptune_scale.lama.methods import METHODS as LAMA_METHODS
from ptune_scale.superglue.methods import METHODS as SUPERGLUE_METHODS

ROWS = rows()


def test_each_row_has_an_id_of_its_table_and_model_and_says_what_it_is_measured_on():
    for name, row in ROWS.items():
        assert re.fullmatch(rf"table{row.table}/{re.escape(row.model)}/[a-z0-9_-]+", name)
        assert row.model in models() and row.data and row.flags
        assert row.deviation.keys() <= row.paper.keys()
        assert all(0 <= number <= 100 for number in row.paper.values())
        assert row.hub or row.missing
        if not row.paper:
            assert any("no number" in note for note in row.notes)


def test_the_tables_have_as_many_rows_as_the_paper():
    assert Counter(row.table for row in ROWS.values()) == {1: 4, 2: 38, 3: 8, 4: 8, 5: 6, 6: 5}


@pytest.mark.parametrize(
    ("row", "metric", "number"),
    [
        ("table1/bert-base-cased/prompt-4", "P17", 51.08),
        ("table2/bert-large-cased/ptuning-34k", "p_at_1", 50.6),
        ("table2/roberta-base/autoprompt", "p_at_1", 40.0),
        ("table2/gpt2-medium/mp_ft", "p_at_1", 38.2),
        ("table2/gpt2-xl/ptuning", "p_at_1", 54.4),
        ("table2/megatron-11b/ptuning", "p_at_1", 64.2),
        ("table3/gpt2/ptuning_joint", "CB f1_macro", 93.2),
        ("table4/bert-large-cased/pet", "WSC", 80.8),
        ("table5/albert-xxlarge-v2/ptuning_joint", "MultiRC em", 36.1),
        ("table5/gpt-3/incontext", "COPA", 92.0),
        ("table6/albert-xxlarge-v2/ptuning_joint", "RTE dev32", 56.25),
    ],
)
def test_numbers_are_the_papers(row, metric, number):
    assert ROWS[row].paper[metric] == number


def test_averages_are_those_of_their_rows():
    """A slip in a cell would show: a task with two metrics counts with their mean."""
    checked = 0
    for row in ROWS.values():
        if AVERAGE not in row.paper:
            continue
        numbers = [
            [value for name, value in row.paper.items() if name.split()[0] == task]
            for task in METRICS
        ]
        means = [sum(values) / len(values) for values in numbers]
        # Rounded cells and the paper's own rounding.
        assert sum(means) / len(means) == pytest.approx(row.paper[AVERAGE], abs=0.07), row.id
        checked += 1
    assert checked == 16


def test_the_first_number_of_a_pair_of_table_4_is_an_accuracy_over_56_records():
    for row in ROWS.values():
        if row.table == 4:
            right = row.paper["CB accuracy"] * 56 / 100
            assert right == pytest.approx(round(right), abs=0.03)


def test_numbers_of_table_1_are_shares_of_930_facts():
    for row in ROWS.values():
        if row.table == 1:
            assert round(100 * round(row.paper["P17"] * 9.3) / 930, 2) == row.paper["P17"]


def test_a_row_that_nobody_can_run_says_why():
    reasons = {row.id: row.not_here for row in ROWS.values() if row.not_here}
    assert {name.split("/")[1] for name in reasons} == {"e-bert", "gpt-3", "albert-xxlarge-v2"}
    assert all(len(reason) > 20 for reason in reasons.values())


@pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if not row.not_here], ids=lambda row: row.id
)
def test_jobs_take_the_flags_of_each_row_that_can_be_run(row):
    config = PaperConfig(data_dir="LAMA", fewglue_dir="Few", superglue_dir="Super")
    jobs = PaperRequest(config).jobs(row)
    assert len(jobs) == len(row.parts)
    for job in jobs:
        flags = dict(zip(job.arguments[::2], job.arguments[1::2], strict=True))
        assert flags["--method"] == row.method and flags["--model"] == row.hub or row.missing
    known = {"lama": LAMA_METHODS, "superglue": SUPERGLUE_METHODS, "prompt_study": ["manual"]}
    assert row.method in known[row.launcher]


def test_parts_of_a_row_cover_its_tasks_once():
    for row in ROWS.values():
        tasks = [task for part in row.parts for task in part.get("tasks", "").split(",") if task]
        assert len(tasks) == len(set(tasks)) and set(tasks) <= set(METRICS)
        assert bool(tasks) == (row.launcher == "superglue") == bool(row.splits)
    config = PaperConfig(superglue_dir="Super")
    first, second = PaperRequest(config).jobs(ROWS["table3/gpt2/ft"])
    for job, epochs in ((first, "20"), (second, "10")):
        assert job.arguments[job.arguments.index("--max_epochs") + 1] == epochs


def test_an_unknown_row_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="table2/gpt2-medium/ptuning"):
        find_row("table2/gpt2-medium/p-tuning")
