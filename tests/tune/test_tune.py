"""A run on tasks of a user's own: what it writes, how it goes on, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.task.metrics import METRICS, Outcome
from ptune_scale.train import checkpoint
from ptune_scale.tune.launcher import main
from ptune_scale.use.export import PromptExport
from ptune_scale.use.prompt import load_prompt

NAMES = ["where", "capital", "choice", "city"]
METHODS = ["majority", "manual", "ptuning"]
Own = Callable[..., list[str]]


def results_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def test_a_run_leaves_everything_that_is_to_be_had(finished: Path) -> None:
    made = {path.name for path in finished.iterdir()} - {".lock"}
    assert made == {
        *("results.json", "results.md", "predictions.jsonl", "report.html", "run.json"),
        *("prompt", "checkpoint", "tensorboard", "plots"),
    }
    assert (finished / "plots" / "scores.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((finished / "run.json").read_text())
    assert told["command"] == "tune" and told["flags"]["max_steps"] == 12


def test_results_hold_each_methods_metrics_of_each_task(finished: Path) -> None:
    results = results_of(finished)
    assert list(results["methods"]) == ["manual", "ptuning"]
    assert list(results["controls"]) == ["majority"]
    assert results["layout"] == "single" and results["world_size"] == 1
    tasks = results["methods"]["ptuning"]["tasks"]
    assert list(tasks) == NAMES
    expected = [
        {"accuracy", "mcc"},
        {"exact_match", "perplexity"},
        {"accuracy"},
        {"p_at_1", "mrr"},
    ]
    for name, metrics in zip(NAMES, expected, strict=True):
        assert metrics | {"records", "interval", "dev"} == tasks[name].keys()
        assert tasks[name]["records"] == 12 and set(tasks[name]["interval"]) == metrics
        assert len(tasks[name]["dev"]) == 1
    # A control knows no likelihood.
    assert "perplexity" not in results["controls"]["majority"]["tasks"]["capital"]
    training = results["methods"]["ptuning"]["training"]
    assert training["steps"] == 12 and len(training["losses"]) == 12
    assert results["config"]["train"]["max_steps"] == 12 and "torch" in results["versions"]
    patterns = results["methods"]["manual"]["patterns"]
    assert patterns["where"] == "{place...} is in the [Y]"
    text = (finished / "results.md").read_text()
    assert "| where | 12 | accuracy |" in text and "manual prompt, nothing trained" in text


def test_predictions_are_those_that_were_scored(finished: Path) -> None:
    results, lines = results_of(finished), lines_of(finished)
    assert len(lines) == 12 * len(NAMES) * len(METHODS)
    columns = {**results["methods"], **results["controls"]}
    for method in METHODS:
        for task, metric in zip(NAMES, ["accuracy", "exact_match", "accuracy", None], strict=True):
            mine = [line for line in lines if (line["task"], line["method"]) == (task, method)]
            assert [line["id"] for line in mine] == [f"r{i}" for i in range(32, 44)]
            assert all(0 <= line["score"] <= 1 for line in mine)
            outcomes = [Outcome(line["expected"], line["answer"]) for line in mine]
            scores = columns[method]["tasks"][task]
            right = sum(line["correct"] for line in mine) / 12
            assert right == pytest.approx(scores[metric or "p_at_1"])
            if metric:
                assert METRICS[metric].compute(outcomes) == pytest.approx(right)
    majority = [line for line in lines if line["method"] == "majority"]
    assert {line["answer"] for line in majority} == {"north", "near Oslo", "one", "Oslo"}


def test_the_prompt_holds_all_that_is_needed_to_ask(finished: Path, tiny_gpt2: Path) -> None:
    export = PromptExport.load(finished / "prompt")
    assert [task.name for task in export.tasks] == NAMES
    assert export.model == str(tiny_gpt2) and export.tasks[0].max_length == 24
    assert dict(export.tasks[1].columns) == {"answer": "text"}


def _copy_up_to(finished: Path, out: Path, step: int) -> None:
    """The output directory of the same run, killed after a checkpoint."""
    (out / "checkpoint").mkdir(parents=True)
    shutil.copy(finished / "run.json", out)
    if step:
        name = f"step-{step:06d}"
        shutil.copytree(finished / "checkpoint" / name, out / "checkpoint" / name)


@pytest.mark.parametrize("step", [0, 8])
def test_a_run_that_was_killed_goes_on_to_the_same_result(
    finished: Path, tmp_path: Path, step: int
) -> None:
    out = tmp_path / "out"
    _copy_up_to(finished, out, step)
    assert main(["--resume_from", str(out)]) == 0
    one, other = results_of(finished), results_of(out)
    for results in (one, other):
        for column in results["methods"].values():
            for of_one_process in ("throughput", "text_tokens"):
                column.get("training", {}).pop(of_one_process, None)
    assert other["methods"] == one["methods"] and other["controls"] == one["controls"]
    assert lines_of(out) == lines_of(finished)
    prompts = [(place / "prompt/prompt.safetensors").read_bytes() for place in (out, finished)]
    assert prompts[0] == prompts[1]
    [newest] = checkpoint.checkpoints(out / "checkpoint")[-1:]
    assert checkpoint.read_meta(newest)["step"] == 12


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lr", "0.5"], "cannot resume from .*lr was 0.01, is 0.5"),
        (["--encoder", "lstm"], "encoder was 'mlp', is 'lstm'"),
        (["--max_steps", "20"], "max_steps was 12, is 20"),
    ],
)
def test_another_run_is_not_gone_on_with(
    flags: list[str], message: str, finished: Path, tmp_path: Path, refused
) -> None:
    out = tmp_path / "out"
    _copy_up_to(finished, out, 8)
    refused(["--resume_from", str(out), *flags], message)
    assert not (out / "results.json").exists()
    assert json.loads((out / "run.json").read_text())["flags"]["lr"] == 0.01


def test_who_lets_few_records_choose_a_prompt_is_told(
    own: Own, tiny_bert: Path, tmp_path: Path, capsys
) -> None:
    flags = [*own("where"), "--model", str(tiny_bert), "--dtype", "float32", "--max_steps", "2"]
    for method, told in (("manual", False), ("ptuning", True)):
        assert main([*flags, "--method", method, "--output_dir", str(tmp_path / method)]) == 0
        said = capsys.readouterr().out
        assert ("records choose the step whose prompt is kept" in said) is told


def test_a_first_try_needs_no_task_file(own: Own, tiny_bert: Path, tmp_path: Path, capsys) -> None:
    train = Path(own("where")[1]).with_name("train.jsonl")
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    table = tmp_path / "places.csv"
    body = "".join(f'"{row["place"]}",{row["city"]}\n' for row in rows)
    table.write_text(f"text,kind\n{body}", encoding="utf-8-sig")
    flags = ["--train", str(table), "--pattern", "{text} [P]*2 Kind [Y] .", "--answer", "kind"]
    out = tmp_path / "out"
    more = ["--model", str(tiny_bert), *("--max_steps", "4", "--output_dir", str(out))]
    assert main([*flags, *more, "--dtype", "float32", "--dev", "0"]) == 0
    said = capsys.readouterr()
    assert "inferred: places: answers are 2 labels, each its own word: Oslo, Rome" in said.err
    assert "places: 5 records were held out of train to be tested on" in said.out
    assert "predict --prompt" in said.out
    results = results_of(out)
    assert results["methods"]["ptuning"]["tasks"]["places"]["records"] == 5
    assert results["methods"]["ptuning"]["training"]["best_visit_of_task"] == {"places": 4}


CHAT = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def test_conversations_are_asked_by_the_models_chat_template(
    tiny_llama: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    (model / "chat_template.jinja").write_text(CHAT)
    turns = [
        {
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": f"Capital of {'Norway' if i % 2 else 'Italy'} {i}?"},
                {"role": "assistant", "content": "Oslo" if i % 2 else "Rome"},
            ]
        }
        for i in range(12)
    ]
    train = tmp_path / "chats.jsonl"
    train.write_text("".join(f"{json.dumps(turn)}\n" for turn in turns))
    flags = ["--train", str(train), "--chat", "on", "--pattern", "{user...} [P]*4"]
    out = tmp_path / "out"
    more = ["--model", str(model), "--dtype", "float32", "--max_steps", "3"]
    assert main([*flags, *more, "--text_tokens", "4", "--output_dir", str(out)]) == 0
    asked = "<|system|>\n{system}\n<|user|>\n{user...}%s\n<|assistant|>\n[Y]"
    methods = results_of(out)["methods"]
    assert methods["ptuning"]["patterns"] == {"chats": asked % " [P]*4"}
    assert methods["manual"]["patterns"] == {"chats": asked % ""}
    prompt = load_prompt(out / "prompt")
    [task] = prompt.tasks
    assert task.wording.pattern.spelling == "chat"
    predicted = {
        line["id"]: line["answer"] for line in lines_of(out) if line["method"] == "ptuning"
    }
    for number, answer in predicted.items():
        [found] = prompt.predict([{"messages": turns[int(number)]["messages"][:2]}])
        assert found.answer == answer


def test_the_metric_that_chooses_need_not_be_reported(
    changed, tiny_gpt2: Path, tmp_path: Path
) -> None:
    metrics = 'metrics = ["accuracy", "mcc"]'
    flags = changed("where", metrics, 'select_on = ["macro_f1"]\nmetrics = ["mcc"]')
    out = tmp_path / "out"
    more = ["--model", str(tiny_gpt2), "--dtype", "float32", "--max_steps", "3"]
    assert main([*flags, *more, "--output_dir", str(out)]) == 0
    scores = results_of(out)["methods"]["ptuning"]
    assert set(scores["tasks"]["changed"]["dev"]) == {"macro_f1"}
    assert scores["mean"] == scores["tasks"]["changed"]["mcc"]
    assert (out / "plots" / "scores.png").is_file()
