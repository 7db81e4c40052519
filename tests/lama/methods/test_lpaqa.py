"""LPAQA's prompts on a model: which is taken, what is mixed, what cannot be asked."""

import json
from pathlib import Path

import pytest
import torch

from ptune_scale.lama import report
from ptune_scale.lama.methods import METHODS, lpaqa
from ptune_scale.lama.methods.mixture import best_prompt
from ptune_scale.lama.reader.published import word_pattern
from ptune_scale.lama.scores import build_results
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.task import Wording

MODELS = ["tiny_gpt2", "tiny_bert"]
MANUAL = {"P36": "the capital of [X] is [Y] .", "P30": "[X] is located in [Y] ."}


def write(directory: Path, kind: str, relation: str, *prompts: tuple[str, float]) -> None:
    path = directory / "lpaqa" / kind / f"{relation}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"template": t, "weight": w}) + "\n" for t, w in prompts))


@pytest.fixture
def prompts_dir(tmp_path: Path) -> Path:
    """The manual prompts among mined ones, and alone among paraphrased ones."""
    directory = tmp_path / "prompts"
    for relation, text in MANUAL.items():
        more = ("[X] near a city , [Y] .", 0.5), ("[X] born in [Y] .", 0.25)
        write(directory, "mine", relation, (text, 0.25), *more, ("[Y] of [X] .", 0.0))
        write(directory, "paraphrase", relation, (text, 1.0))
    return directory


def by_name(results):  # noqa: ANN001, ANN201
    return {result.name: result for result in results}


@pytest.mark.parametrize("model", MODELS)
def test_one_prompt_is_itself_whether_best_or_mixed(model, job_of, prompts_dir, request) -> None:
    job = job_of(request.getfixturevalue(model), method="lpaqa", prompts_dir=str(prompts_dir))
    results = by_name(lpaqa.run(job))
    expected = METHODS["manual"].run(job)[0].predictions
    for name in ("top1", "ensemble", "file_weights"):
        found = results[f"lpaqa_paraphrase_{name}"].predictions
        for relation, predictions in expected.items():
            pairs = zip(found[relation], predictions, strict=True)
            assert all((a.answer, a.ranks) == (b.answer, b.ranks) for a, b in pairs)


@pytest.mark.parametrize("model", MODELS)
def test_the_prompt_taken_answers_most_training_facts(model, job_of, prompts_dir, request) -> None:
    job = job_of(request.getfixturevalue(model), method="lpaqa", prompts_dir=str(prompts_dir))
    chosen = by_name(lpaqa.run(job))["lpaqa_mine_top1"].wordings
    texts = [MANUAL["P36"], "[X] near a city , [Y] .", "[X] born in [Y] ."]
    if model == "tiny_bert":
        texts.append("[Y] of [X] .")
    network, splits = job.backbone.lm.model, job.tasks[0].splits
    scores = {}
    for text in texts:
        pattern = word_pattern(text, job.backbone.kind)
        wording = Wording(pattern, job.tasks[0].wording.answer)
        asked = AskedTask(job.tasks[0], job.backbone.tokens, 0, wording=wording)
        right, likelihood = 0, 0.0
        for question in asked.questions((*splits.train, *splits.dev), "evaluate"):
            [row] = question.rows
            with torch.no_grad():
                logits = network(torch.tensor([row.ids])).logits[0, row.targets[0]]
            right += int(logits.argmax()) == row.answers[0]
            likelihood += float(logits.log_softmax(-1)[row.answers[0]])
        scores[pattern.text] = (right, likelihood)
    assert chosen["P36"] == max(scores, key=lambda text: scores[text])


def test_more_right_answers_come_before_likelier_ones() -> None:
    scores = torch.zeros(3, 3, 4)
    scores[:, 0, 0] = 0.1  # right twice
    scores[0, 1, 0] = scores[1:, 1, 1] = 9.0  # right once
    scores[:, 2, 0] = 0.2  # right twice, and surer
    answers = torch.tensor([0, 0, 3])
    assert best_prompt(scores.log_softmax(-1), answers) == 2
    assert best_prompt(scores[:, :2].log_softmax(-1), answers) == 0


def test_what_is_left_out_is_counted_and_the_manual_prompt_stands_in(
    job_of, prompts_dir, tiny_gpt2
) -> None:
    write(prompts_dir, "mine", "P36", ("[Y] of [X] .", 0.5), ("[Y] , [X]", 0.5))
    job = job_of(tiny_gpt2, method="lpaqa", prompts_dir=str(prompts_dir), lpaqa_prompts=2)
    results = by_name(lpaqa.run(job))
    top = results["lpaqa_mine_top1"]
    assert top.wordings["P36"] == "the capital of [X] is [Y]"
    assert "3 x subject behind the target" in top.description
    assert "1 x beyond the heaviest" in top.description
    assert "manual prompt instead, none of P36 is usable" in top.description
    expected = METHODS["manual"].run(job)[0].predictions["P36"]
    assert [p.ranks for p in top.predictions["P36"]] == [p.ranks for p in expected]


def test_prompts_are_in_the_report(job_of, prompts_dir, tiny_gpt2) -> None:
    job = job_of(tiny_gpt2, method="lpaqa", prompts_dir=str(prompts_dir))
    summary = build_results(job, lpaqa.run(job))
    top = summary["methods"]["lpaqa_paraphrase_top1"]
    assert top["prompts"]["P30"] == "[X] is located in [Y]"
    rows = [row for table in report.prompts(summary) for row in table.rows]
    assert ["P30", "100 % [X] is located in [Y]"] in rows
    assert "prompts" not in summary["methods"]["lpaqa_mine_file_weights"]
