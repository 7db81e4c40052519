"""What a row is measured as, from the files that jobs write, and how it is shown."""

import json

import pytest

from ptune_scale.errors import UserError
from ptune_scale.experiments.paper import report
from ptune_scale.experiments.paper.jobs import PaperConfig, PaperRequest
from ptune_scale.experiments.paper.report import RowOutcome
from ptune_scale.experiments.paper.results import RowResult, read
from ptune_scale.experiments.paper.rows import METRICS, find_row
from tests.campaigns.damage import JSON_VALUES


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


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"tasks": 3}', '{"tasks": []}'])
def test_damaged_results_are_one_line_that_says_what_to_do(tmp_path, content):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "results.json").write_text(content)
    with pytest.raises(UserError, match=f"results.json.*remove {tmp_path}/job.json to go on"):
        read(find_row("table3/gpt2/ft"), [tmp_path / "job"])


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
    with pytest.raises(UserError, match="pet gave no manual_7"):
        read(other, [directory])


def test_a_task_scored_on_the_records_that_chose_is_told(tmp_path):
    row = find_row("table6/albert-xxlarge-v2/ptuning_joint")
    scores = {"accuracy": 0.5}
    directory = write(tmp_path / "job", {"RTE": task("ptuning_joint", scores, scores, "dev32")})
    [note] = read(row, [directory]).notes
    assert "RTE has no val" in note


def test_a_prompt_of_table_1_is_the_one_that_the_study_scored(tmp_path):
    row = find_row("table1/bert-base-cased/prompt-4")
    prompts = [{"text": row.prompt, "full": 0.5}, {"text": "[X] is in [Y].", "full": 0.1}]
    study = {"prompts": prompts, "full": "930 test facts", "metric": "P@1", "candidates": "file"}
    for file, is_papers in ((row.vocabulary, True), ("mine.txt", False)):
        study["config"] = {"study": {"candidates": f"LAMA/{file}"}}
        (tmp_path / "results.json").write_text(json.dumps(study))
        found = read(row, [tmp_path])
        assert found.values == {"P17": 50}
        assert found.notes[:2] == ["930 test facts, P@1", f"answers are ranked among {file}"]
        assert any("may not be the paper's" in note for note in found.notes) != is_papers


def test_differences_are_given_for_the_papers_model_alone(tmp_path):
    result = RowResult({"p_at_1": 52.0, "macro p_at_1": 50})
    outcome = RowOutcome(find_row("table2/gpt2-xl/ptuning"), "measured", result)
    for model, difference in (("", "-2.40"), ("m", "")):
        request = PaperRequest(PaperConfig(model=model))
        page = report.write([outcome], request, tmp_path)
        assert f"| gpt2-xl/ptuning | p_at_1 | 54.40 | 52.00 | {difference} |" in page
        assert "| gpt2-xl/ptuning | macro p_at_1 |  | 50.00 |  |" in page
        [row] = json.loads((tmp_path / "paper.json").read_text())["rows"]
        assert row["difference"] == ({} if model else pytest.approx({"p_at_1": -2.4}))
        assert row["run_on"] == (model or "openai-community/gpt2-xl")
        assert (tmp_path / "paper.png").is_file()


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_damaged_results_are_refused_in_one_line(value: str, tmp_path):
    row = find_row("table3/gpt2/ft")
    for text in (value, f'{{"tasks": {value}}}', f'{{"tasks": {{"CB": {value}}}}}'):
        (tmp_path / "results.json").write_text(text)
        try:
            read(row, [tmp_path])
        except UserError as error:
            assert "\n" not in str(error)
