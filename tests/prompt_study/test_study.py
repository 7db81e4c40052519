"""A study from flags to its files, in this process, on a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ptune_scale.parallel import Degrees, Mesh, StopSignal, World
from ptune_scale.prompt_study import report
from ptune_scale.prompt_study.config import PromptStudyConfig
from ptune_scale.prompt_study.facts import FactStudy
from ptune_scale.prompt_study.launcher import main
from ptune_scale.prompt_study.measured import Measured
from ptune_scale.prompt_study.tasks import TaskStudy


def _measure(study: type, flags: dict[str, Any], output: Path) -> tuple[Measured, dict[str, Any]]:
    config = PromptStudyConfig.from_flags({"dtype": "float32", **flags})
    world = World()
    mesh = Mesh.build(world, Degrees())
    measured = study.of(config).measure(mesh, StopSignal(world), output)
    output.mkdir(exist_ok=True)
    results = report.build_results(config, mesh, measured)
    report.write(results, measured, output)
    assert (output / "prompt_study.png").stat().st_size > 1000
    return measured, json.loads((output / "prompt_study.json").read_text())


def test_each_prompt_of_a_relation_is_scored_on_both_sets(
    tiny_gpt2, tiny_facts, tmp_path, plain_p_at_1
) -> None:
    prompts = tmp_path / "prompts.txt"
    texts = ["the capital of [X] is [Y] .", "[X] near [Y].", "[X] near [Y] ?", "[Y] of [X]", "[X]"]
    prompts.write_text("\n".join(texts))
    flags = {"model": str(tiny_gpt2), "data_dir": str(tiny_facts), "relation": "P36"}
    flags |= {"prompts": str(prompts), "dev_facts": 2}
    measured, results = _measure(FactStudy, flags, tmp_path / "out")
    assert [p.text for p in measured.prompts] == texts[:2]
    assert sorted(measured.notes) == [
        "left out: 1 x not one [X] and one [Y]",
        "left out: 1 x subject behind the target",
        "left out: 1 x the same to this model as another",
    ]
    assert measured.correlation() is None  # two prompts only
    for prompt, start in zip(results["prompts"], ("the capital of {} is", "{} near"), strict=True):
        assert prompt["full"] == plain_p_at_1(tiny_gpt2, tiny_facts / "test" / "P36.jsonl", start)
        assert prompt["paper"] == {}
    page = (tmp_path / "out" / "prompt_study.md").read_text()
    assert "| `[X] near [Y].` | prompts.txt:2 |" in page


@pytest.fixture
def plain_p_at_1():  # noqa: ANN201
    """P@1 of a causal model over its whole vocabulary, by transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def compute(model: Path, facts: Path, start: str) -> float:
        network = AutoModelForCausalLM.from_pretrained(model)
        tokenizer = AutoTokenizer.from_pretrained(model)
        right = []
        for line in facts.read_text().splitlines():
            fact = json.loads(line)
            ids = tokenizer(start.format(fact["sub_label"]), return_tensors="pt")
            with torch.no_grad():
                best = int(network(**ids).logits[0, -1].argmax())
            right.append([best] == tokenizer(" " + fact["obj_label"])["input_ids"])
        return sum(right) / len(right)

    return compute


def test_patterns_of_a_task_are_scored_as_the_manual_method_does(
    study_model, study_tasks, tmp_path
) -> None:
    patterns = tmp_path / "mine.txt"
    patterns.write_text("{premise...} {claim}? [Y]\n")
    flags = {"model": str(study_model), "data_dir": str(study_tasks), "task": "rte"}
    flags |= {"patterns": str(patterns)}
    measured, results = _measure(TaskStudy, flags, tmp_path / "out")
    by_name = {prompt.name: prompt for prompt in measured.prompts}
    assert {"4", "5", "6", "7", "8", "mine_1"} == set(by_name)
    assert by_name["mine_1"].source == "mine.txt" and by_name["5"].source == "built in"
    assert by_name["5"].paper == {"small": 53.12, "full": 57.16}
    for name, prompt in by_name.items():
        trial = json.loads((tmp_path / f"out/RTE/trials/manual-manual_{name}.json").read_text())
        assert prompt.small == trial["dev"]["accuracy"]
        assert prompt.full == trial["test"]["accuracy"]
    page = (tmp_path / "out" / "prompt_study.md").read_text()
    assert "| paper, small | paper, full |" in page and "| 53.12 | 57.16 |" in page
    assert "Table 6" in page and "albert-xxlarge-v2" in page
    assert results["paper"] == measured.paper


def test_a_pattern_can_be_trained_with_first(study_model, study_tasks, tmp_path) -> None:
    flags = {"model": str(study_model), "data_dir": str(study_tasks), "task": "CB"}
    flags |= {"method": "pet", "max_steps": 1, "batch_size": 4, "repetitions": 2}
    measured, _ = _measure(TaskStudy, flags, tmp_path / "out")
    # Of CB's patterns a causal model sees the whole of one.
    (prompt,) = measured.prompts
    paths = [tmp_path / f"out/CB/trials/pet-manual_4-seed{seed}.json" for seed in (42, 43)]
    trials = [json.loads(path.read_text()) for path in paths]
    for score, part in ((prompt.small, "dev"), (prompt.full, "test")):
        assert score == pytest.approx(sum(trial[part]["accuracy"] for trial in trials) / 2)
    assert measured.subject == "CB, pet on 8 records"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], "give --relation or --task"),
        (["--relation", "P36", "--task", "RTE"], "give --relation or --task"),
        (["--relation", "P99"], "unknown relation 'P99'"),
        (["--relation", "P36,P30"], "name one relation"),
        (["--relation", "P36", "--patterns", "x"], "--patterns is for a --task"),
        (["--relation", "P36", "--method", "pet"], "a relation is only asked"),
        (["--relation", "P36", "--prompts", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--task", "CB"], "CB/dev32.jsonl does not exist"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    flags, reason, tiny_gpt2, tiny_facts, tmp_path, capsys
) -> None:
    place = ["--data_dir", str(tiny_facts), "--output_dir", str(tmp_path / "out")]
    assert main(["--model", str(tiny_gpt2), *place, *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("prompt_study.py: error: ") and reason in line
    assert not (tmp_path / "out").exists()
