"""LPAQA's prompts on a model: which is taken, what is mixed, what cannot be asked."""

import json
from pathlib import Path

import pytest
import torch

from ptune_scale import report
from ptune_scale.data.prompts import word_template
from ptune_scale.errors import UserError
from ptune_scale.methods import METHODS, lpaqa, manual
from ptune_scale.methods.lpaqa import best_prompt

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
    expected = manual.run(job)[0].ranks
    for name in ("top1", "ensemble", "file_weights"):
        assert torch.equal(results[f"lpaqa_paraphrase_{name}"].ranks, expected)


@pytest.mark.parametrize("model", MODELS)
def test_the_prompt_taken_answers_most_training_facts(model, job_of, prompts_dir, request) -> None:
    job = job_of(request.getfixturevalue(model), method="lpaqa", prompts_dir=str(prompts_dir))
    chosen = by_name(lpaqa.run(job))["lpaqa_mine_top1"].prompts
    texts = [MANUAL["P36"], "[X] near a city , [Y] .", "[X] born in [Y] ."]
    if model == "tiny_bert":
        texts.append("[Y] of [X] .")
    network = job.backbone.lm.model
    relation = job.facts.relations[0]
    scores = {}
    for text in texts:
        template = word_template(text, job.tokens.kind)
        right, likelihood = 0, 0.0
        for fact in (*relation.train, *relation.dev):
            cloze = template.render(fact.subject, job.tokens)
            with torch.no_grad():
                logits = network(torch.tensor([cloze.ids])).logits[0, cloze.target]
            right += int(logits.argmax()) == fact.label
            likelihood += float(logits.log_softmax(-1)[fact.label])
        scores[template.pattern] = (right, likelihood)
    assert chosen["P36"] == max(scores, key=lambda pattern: scores[pattern])


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
    assert top.prompts["P36"] == "the capital of [X] is [Y]"
    assert "3 x subject behind the target" in top.description
    assert "1 x beyond the heaviest" in top.description
    assert "manual prompt instead, none of P36 is usable" in top.description
    capitals = len(job.facts.relations[0].test)
    assert torch.equal(top.ranks[:capitals], manual.run(job)[0].ranks[:capitals])


def test_prompts_are_in_the_report(job_of, prompts_dir, tiny_gpt2) -> None:
    job = job_of(tiny_gpt2, method="lpaqa", prompts_dir=str(prompts_dir))
    summary = report.build_results(job, lpaqa.run(job))
    top = summary["methods"]["lpaqa_paraphrase_top1"]
    assert top["prompts"]["P30"] == "[X] is located in [Y]"
    assert "- P30: `100 % [X] is located in [Y]`" in report.prompts(summary)
    assert "prompts" not in summary["methods"]["lpaqa_mine_file_weights"]


@pytest.mark.parametrize("method", ["lpaqa", "autoprompt_bert", "autoprompt_roberta"])
def test_a_missing_directory_is_refused_before_any_work(method, job_of, tmp_path, tiny_gpt2):
    assert method in METHODS
    with pytest.raises(UserError, match="does not exist; expected .*--prompts_dir"):
        job_of(tmp_path / "no model is looked for", method=method)
    with pytest.raises(UserError, match="built-in facts come without"):
        job_of(tmp_path / "no model", method=method, data_dir="embedded", relations="all")
