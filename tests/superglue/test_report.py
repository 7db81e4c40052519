"""Results of SuperGLUE tasks: intervals, averages, and what is written."""

from pathlib import Path

import pytest

from ptune_scale.superglue import report
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import METHODS
from ptune_scale.superglue.report import Done
from ptune_scale.superglue.results import TaskResult


@pytest.fixture
def done(job_of, tiny_causal) -> Done:
    job: TaskJob = job_of(tiny_causal, "CB")
    results = [result for name in ("majority", "manual") for result in METHODS[name].run(job)]
    # A mean of which nobody knows what was answered, as over patterns of PET.
    means = [{"dev": each.dev, "test": each.test} for each in results]
    return Done(job, [*results, TaskResult.of("pet", "a mean", means)])


def test_scores_have_intervals_where_it_is_known_what_was_answered(done: Done) -> None:
    methods = done.summary["methods"]
    assert list(methods) == ["majority", "manual", "manual_mean", "pet"]
    for name in ("majority", "manual", "manual_mean"):
        for metric in ("accuracy", "f1_macro"):
            low, high = methods[name]["interval"][metric]
            assert low <= methods[name]["test"][metric] <= high
    assert methods["pet"]["interval"] == {"accuracy": None, "f1_macro": None}


def test_an_average_counts_a_task_by_the_mean_of_its_metrics(done: Done) -> None:
    results = report.build_results([done])
    test = done.summary["methods"]["manual"]["test"]
    average = results["average"]["manual"]
    assert average["value"] == pytest.approx((test["accuracy"] + test["f1_macro"]) / 2)
    low, high = average["interval"]
    assert low <= average["value"] <= high and results["average"]["pet"]["interval"] is None
    table = report.table(results)
    assert table.head == ["method", "CB", "average"] and len(table.rows) == 4


def test_a_page_and_its_plots_are_written(done: Done, tmp_path: Path) -> None:
    report.write([done], tmp_path)
    names = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert names == {"tasks", "confusion_CB_manual"}
    page = (tmp_path / "report.html").read_text()
    assert "none on dev" in page and "<caption>CB</caption>" in page
