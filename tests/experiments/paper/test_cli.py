"""The command line that runs rows of the paper: what it refuses, what it runs, what it keeps."""

import json
from pathlib import Path

import pytest

from ptune_scale.experiments.paper.cli import main
from ptune_scale.experiments.paper.jobs import PaperConfig, PaperRequest
from ptune_scale.experiments.paper.rows import find_row, rows

PTUNING = "table2/gpt2-medium/ptuning"
LPAQA = "table2/bert-base-cased/lpaqa-34k"


@pytest.fixture(scope="module")
def finished(tiny_gpt2, tiny_facts, tmp_path_factory):
    """Two rows, of which one lacks its prompts: flags, status, rows and place."""
    out = tmp_path_factory.mktemp("paper")
    flags = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--output_dir", str(out)]
    extra = ["--", "--max_steps", "3", "--dtype", "float32", "--candidates", "full_vocab"]
    status = main(["--row", PTUNING, "--row", LPAQA, *flags, *extra])
    return flags, extra, status, outcomes(out), (out / "paper.md").read_text(), out


def outcomes(out: Path) -> dict[str, dict]:
    return {row["id"]: row for row in json.loads((out / "paper.json").read_text())["rows"]}


def job_of(out: Path, method: str) -> Path:
    [path] = [path for path in out.glob(f"jobs/*-{method}-*") if path.is_dir()]
    return path


def test_a_row_is_run_and_its_results_stand_beside_the_papers(finished):
    *_, reported, page, out = finished
    row = reported[PTUNING]
    results = json.loads((job_of(out, "ptuning") / "results.json").read_text())
    scores = results["methods"]["ptuning"]
    assert row["status"] == "measured" and row["paper"] == {"p_at_1": 46.5}
    assert row["here"]["p_at_1"] == 100 * scores["micro"]["p_at_1"]
    assert row["here"]["macro p_at_1"] == 100 * scores["macro"]["p_at_1"]
    assert results["training"]["steps"] == 3 and results["config"]["train"]["lr"] == 1e-5
    assert not row["is_papers_model"] and row["difference"] == {}
    assert "| gpt2-medium/ptuning | p_at_1 | 46.50 |" in page and "other models'" in page
    assert "`--max_steps 3 --dtype float32" in page and (out / "paper.png").is_file()


def test_a_row_that_fails_is_reported_and_takes_no_other_with_it(finished):
    _, _, status, reported, _, out = finished
    assert status == 1
    failed = reported[LPAQA]
    assert failed["status"] == "failed" and failed["here"] == {}
    assert "prompts/lpaqa/mine/P36.jsonl does not exist" in failed["reason"]


def test_the_same_command_again_runs_nothing_that_is_finished(finished):
    flags, extra, *_, out = finished
    before = {path: path.stat().st_mtime_ns for path in out.glob("jobs/*")}
    assert main(["--row", PTUNING, *flags, *extra]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("jobs/*")} == before
    assert outcomes(out)[PTUNING]["status"] == "measured"


def test_what_was_interrupted_is_gone_on_with(finished):
    flags, extra, *_, out = finished
    place = job_of(out, "ptuning")
    results = (place / "results.json").read_text()
    kept = sorted(place.glob("checkpoint/*"))
    for path in (place / "results.json", place.with_suffix(".json")):
        path.unlink()
    assert main(["--row", PTUNING, *flags, *extra]) == 0
    assert kept and sorted(place.glob("checkpoint/*")) == kept
    again, before = json.loads((place / "results.json").read_text()), json.loads(results)
    assert again["training"]["losses"] == before["training"]["losses"]
    assert "--resume_from" in json.loads(place.with_suffix(".json").read_text())["command"]


def test_a_place_that_cannot_be_written_is_one_line(tiny_gpt2, tiny_facts, capsys):
    flags = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts)]
    assert main(["--row", PTUNING, *flags, "--output_dir", f"{__file__}/out"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{__file__}/out cannot be written" in line


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
    assert main(["--output_dir", str(tmp_path), *ours]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert ": error: " in line and all(word in line for word in words)
    assert not (tmp_path / "jobs").exists()


def arguments(row: str, **config: str) -> list[dict[str, str]]:
    jobs = PaperRequest(PaperConfig(**config)).jobs(find_row(row))
    return [dict(zip(j.arguments[::2], j.arguments[1::2], strict=True)) for j in jobs]


def test_on_another_model_rows_of_one_method_are_run_once(tiny_gpt2):
    request = PaperRequest(PaperConfig(model=str(tiny_gpt2), data_dir="LAMA"))
    chosen = [find_row(f"table2/{m}/ptuning") for m in ("bert-base-cased", "gpt2-xl")]
    [one], [other] = map(request.jobs, chosen)
    assert one == other
    # Of the masked row's template nothing may stand behind a causal model's target.
    assert one.arguments[one.arguments.index("--template") + 1] == "(3, sub, 3, obj)"


def test_rows_of_prompts_of_one_relation_are_one_job():
    request = PaperRequest(PaperConfig(data_dir="LAMA"))
    jobs = [request.jobs(row) for row in rows().values() if row.table == 1]
    assert len(jobs) == 4 and len({job for [job] in jobs}) == 1


def test_tasks_behind_the_dashes_choose_among_those_of_the_row():
    config = PaperConfig(superglue_dir="Super")
    request = PaperRequest(config, ("--tasks", "RTE,wic", "--max_epochs", "3"))
    jobs = [job.arguments for job in request.jobs(find_row("table3/gpt2/ptuning_joint"))]
    assert [job[job.index("--tasks") + 1] for job in jobs] == ["RTE", "WiC"]
    assert {job[job.index("--max_epochs") + 1] for job in jobs} == {"3"}


def test_candidates_are_the_published_list_where_the_data_has_it(tiny_facts, tmp_path):
    (tmp_path / "29k-vocab.json").write_text("{}")
    [with_list] = arguments(PTUNING, data_dir=str(tmp_path))
    [without] = arguments(PTUNING, data_dir=str(tiny_facts))
    assert with_list["--candidates"] == str(tmp_path / "29k-vocab.json")
    assert "--candidates" not in without
