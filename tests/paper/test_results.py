"""What a row is measured as, from the files that jobs write, and how it is shown."""

import json

import pytest

from ptune_scale.paper import report
from ptune_scale.paper.records import METRICS, find_row
from ptune_scale.paper.report import Outcome
from ptune_scale.paper.request import Request
from ptune_scale.paper.results import Measured, read


def task(method: str, test: dict, dev: dict | None = None, split: str = "val", **more) -> dict:
    scores = {"test": test, "dev": dev or {}, "deviation": {}, "trials": {}, **more}
    return {"methods": {method: scores}, "test_split": split}


def write(directory, tasks: dict):
    directory.mkdir()
    (directory / "results.json").write_text(json.dumps({"tasks": tasks}))
    return directory


def test_tasks_of_several_jobs_are_one_row_with_the_papers_average(tmp_path):
    row = find_row("table3/gpt2/ft")
    shares = {name: dict(zip(METRICS[name], (0.5, 0.7), strict=False)) for name in METRICS}
    tasks = {name: task("ft", test) for name, test in shares.items()}
    one = write(tmp_path / "one", {name: tasks[name] for name in ("CB", "RTE")})
    two = write(
        tmp_path / "two", {name: tasks[name] for name in tasks if name not in ("CB", "RTE")}
    )
    measured = read(row, [one, two])
    assert measured.values["CB f1_macro"] == pytest.approx(70)
    assert measured.values["average"] == pytest.approx((5 * 50 + 2 * 60) / 7)
    assert measured.values.keys() == row.paper.keys()
    assert "average" not in read(row, [one]).values


def test_a_prompt_of_table_6_is_the_mean_of_its_own_repetitions(tmp_path):
    row = find_row("table6/albert-xxlarge-v2/prompt-2")
    trials = {
        f"pet-{name}-seed{seed}": {"test": {"accuracy": test}, "dev": {"accuracy": dev}}
        for name, seed, test, dev in (
            ("manual_5", 42, 0.1, 0.1),
            ("manual_6", 42, 0.4, 0.5),
            ("manual_6", 43, 0.6, 0.9),
        )
    }
    directory = write(tmp_path / "job", {"RTE": task("pet", {"accuracy": 0.3}, trials=trials)})
    assert read(row, [directory]).values == pytest.approx({"RTE": 50, "RTE dev32": 70})
    other = find_row("table6/albert-xxlarge-v2/prompt-3")
    with pytest.raises(KeyError, match="manual_7"):
        read(other, [directory])


def test_a_task_scored_on_the_records_that_chose_is_told(tmp_path):
    row = find_row("table6/albert-xxlarge-v2/ptuning_joint")
    scores = {"accuracy": 0.5}
    directory = write(tmp_path / "job", {"RTE": task("ptuning_joint", scores, scores, "dev32")})
    [note] = read(row, [directory]).notes
    assert "RTE has no val" in note


def test_differences_are_given_for_the_papers_model_alone(tmp_path):
    outcome = Outcome(
        find_row("table2/gpt2-xl/ptuning"),
        "measured",
        Measured({"p_at_1": 52.0, "macro p_at_1": 50}),
    )
    for request, line in ((Request(), "|  | difference | -2.4 |  |"), (Request(model="m"), None)):
        page = report.write([outcome], request, tmp_path)
        assert "|  | here | 52.0 | 50.0 |" in page
        assert (line in page) if line else ("difference |" not in page)
        [row] = json.loads((tmp_path / "paper.json").read_text())["rows"]
        assert row["difference"] == (pytest.approx({"p_at_1": -2.4}) if line else {})
        assert row["model"] == (request.model or "openai-community/gpt2-xl")
