"""The command line that runs rows of the paper: what it refuses, what it runs, what it keeps."""

import json
from pathlib import Path

import pytest

from ptune_scale.paper.cli import main
from ptune_scale.paper.jobs import plan, settings_of
from ptune_scale.paper.records import find_row, rows
from ptune_scale.paper.request import Request

LAUNCHERS = Path(__file__).resolve().parents[2] / "launchers"
PTUNING = "table2/gpt2-medium/ptuning"
LPAQA = "table2/bert-base-cased/lpaqa-34k"


@pytest.fixture(scope="module")
def finished(tiny_gpt2, tiny_facts, tmp_path_factory):
    """Two rows that share a job, of which one lacks its prompts: flags, status, rows and place."""
    out = tmp_path_factory.mktemp("paper")
    flags = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--output_dir", str(out)]
    extra = ["--", "--max_steps", "3", "--dtype", "float32", "--candidates", "full_vocab"]
    status = main(["--row", PTUNING, "--row", LPAQA, *flags, *extra], LAUNCHERS)
    return flags, extra, status, outcomes(out), (out / "paper.md").read_text(), out


def outcomes(out: Path) -> dict[str, dict]:
    return {row["id"]: row for row in json.loads((out / "paper.json").read_text())["rows"]}


def job_of(out: Path, method: str) -> Path:
    [path] = out.glob(f"jobs/*-{method}.json")
    return path


def test_a_row_is_run_and_its_results_stand_beside_the_papers(finished):
    *_, reported, page, out = finished
    row = reported[PTUNING]
    results = json.loads((job_of(out, "ptuning").with_suffix("") / "results.json").read_text())
    scores = results["methods"]["ptuning"]
    assert row["status"] == "measured" and row["paper"] == {"p_at_1": 46.5}
    assert row["here"]["p_at_1"] == 100 * scores["micro"]["p_at_1"]
    assert row["here"]["macro p_at_1"] == 100 * scores["macro"]["p_at_1"]
    assert results["training"]["steps"] == 3 and results["config"]["train"]["lr"] == 1e-5
    assert not row["is_papers_model"] and row["difference"] == {}
    assert "| gpt2-medium/ptuning | paper | 46.5 |" in page and "other models'" in page
    assert "`--max_steps 3 --dtype float32" in page and (out / "paper.png").is_file()


def test_a_row_that_fails_is_reported_and_takes_no_other_with_it(finished):
    _, _, status, reported, _, out = finished
    assert status == 1
    failed = reported[LPAQA]
    assert failed["status"] == "failed" and failed["here"] == {}
    assert "prompts/lpaqa/mine/P36.jsonl does not exist" in failed["reason"]
    together = json.loads(job_of(out, "lpaqa+ptuning").read_text())
    assert together["status"] == 2 and json.loads(job_of(out, "ptuning").read_text())["status"] == 0


def test_the_same_command_again_runs_nothing_that_is_finished(finished):
    flags, extra, *_, out = finished
    before = {path: path.stat().st_mtime_ns for path in out.glob("jobs/*")}
    assert main(["--row", PTUNING, *flags, *extra], LAUNCHERS) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("jobs/*")} == before
    assert outcomes(out)[PTUNING]["status"] == "measured"


def test_the_list_has_every_row_and_what_it_needs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(rows())
    [line] = [line for line in lines if line.startswith("table2/gpt2-xl/ptuning ")]
    assert "54.4" in line and "--data_dir" in line
    [line] = [line for line in lines if line.startswith("table5/gpt-3/incontext ")]
    assert "not public" in line
    assert not list(tmp_path.iterdir())


def test_a_row_in_the_list_is_told_in_full(capsys):
    assert main(["--list", "--row", "table5/albert-xxlarge-v2/ptuning_joint"]) == 0
    said = capsys.readouterr().out
    assert "CB accuracy 92.9" in said and "3,500 steps" in said and "--fewglue_dir" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--row", "table2/gpt2-medium/p-tuning"], ["no such row", PTUNING]),
        ([], ["--row ID", "--table N"]),
        (["--table", "7"], ["--table"]),
        (["--row", PTUNING], ["none of these rows", "--list"]),
        (["--row", PTUNING, "--weights", "gpt5=x"], ["--weights gpt5=x", "gpt2-medium"]),
        (
            ["--row", PTUNING, "--data_dir", "{facts}", "--model", "{gpt2}", "--", "--lr", "x"],
            ["x"],
        ),
        (
            ["--row", PTUNING, "--data_dir", "{facts}", "--model", "{gpt2}", "--", "--lr", "-1"],
            ["--lr must be a positive number"],
        ),
        (
            [
                "--row",
                PTUNING,
                "--data_dir",
                "{facts}",
                "--model",
                "{gpt2}",
                "--",
                "--method",
                "ft",
            ],
            ["--method behind --"],
        ),
    ],
)
def test_a_bad_request_is_one_line_and_runs_nothing(
    flags, words, capsys, tiny_gpt2, tiny_facts, tmp_path
):
    ours = [text.format(facts=tiny_facts, gpt2=tiny_gpt2) for text in flags]
    assert main(["--output_dir", str(tmp_path), *ours], LAUNCHERS) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("paper.py: error: ") and all(word in line for word in words)
    assert not (tmp_path / "jobs").exists()


def test_rows_that_share_model_and_data_are_one_job_of_several_methods():
    request = Request(data_dir="LAMA")
    names = ("manual", "ft", "mp_ft", "ptuning")
    chosen = [find_row(f"table2/{m}/{n}") for m in ("gpt2-medium", "gpt2-xl") for n in names]
    assert list(plan(chosen, request).values()) == [list(names)] * 2


def test_on_another_model_rows_of_one_method_are_run_once(tiny_gpt2):
    request = Request(model=str(tiny_gpt2), data_dir="LAMA")
    chosen = [find_row(f"table2/{m}/ptuning") for m in ("bert-base-cased", "gpt2-xl")]
    [(settings, methods)] = plan(chosen, request).items()
    assert methods == ["ptuning"]
    # Of the masked row's template nothing may stand behind a causal model's target.
    assert dict(settings.flags)["template"] == "(3, sub, 3, obj)"


def test_tasks_behind_the_dashes_choose_among_those_of_the_row():
    row = find_row("table3/gpt2/ptuning_joint")
    request = Request(superglue_dir="Super", extra=("--tasks", "RTE,wic", "--max_epochs", "3"))
    tasks = [dict(settings.flags)["tasks"] for settings in settings_of(row, request)]
    assert tasks == ["RTE", "WiC"]
    assert {dict(s.flags)["max_epochs"] for s in settings_of(row, request)} == {"3"}


def test_candidates_are_the_published_list_where_the_data_has_it(tiny_facts, tmp_path):
    (tmp_path / "29k-vocab.json").write_text("{}")
    row = find_row(PTUNING)
    [with_list] = settings_of(row, Request(data_dir=str(tmp_path)))
    [without] = settings_of(row, Request(data_dir=str(tiny_facts)))
    assert dict(with_list.flags)["candidates"] == str(tmp_path / "29k-vocab.json")
    assert "candidates" not in dict(without.flags)
