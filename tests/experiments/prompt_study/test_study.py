"""A study from flags to its files, in this process, on a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ptune_scale.experiments.prompt_study.config import PromptStudyConfig
from ptune_scale.experiments.prompt_study.launcher import main
from ptune_scale.experiments.prompt_study.study import check, run
from ptune_scale.parallel import Mesh, StopSignal, World
from ptune_scale.run.site import Site


def measure(flags: dict[str, Any], output: Path) -> tuple[dict[str, Any], str]:
    checked = check(PromptStudyConfig.from_flags({"dtype": "float32", **flags}))
    world = World()
    run(checked, Site(Mesh.build(world, checked.degrees), StopSignal(world), output))
    assert (output / "prompt_study.png").stat().st_size > 1000
    return json.loads((output / "results.json").read_text()), (output / "results.md").read_text()


def test_each_prompt_of_a_relation_is_scored_on_both_sets(
    tiny_gpt2, tiny_facts, tmp_path, plain_p_at_1
) -> None:
    prompts = tmp_path / "prompts.txt"
    texts = ["the capital of [X] is [Y] .", "[X] near [Y].", "[X] near [Y] ?", "[Y] of [X]", "[X]"]
    prompts.write_text("\n".join(texts))
    flags = {"model": str(tiny_gpt2), "data_dir": str(tiny_facts), "relation": "P36"}
    flags |= {"prompts": str(prompts), "dev_facts": 2}
    results, page = measure(flags, tmp_path / "out")
    assert [p["text"] for p in results["prompts"]] == texts[:2]
    assert [note for note in results["notes"] if note.startswith("left out")] == [
        "left out: 1 x the subject stands behind the target, so a causal model cannot use it",
        "left out: 1 x write [X] and [Y] exactly once each",
        "left out: 1 x the same to this model as another",
    ]
    assert results["correlation"] is None  # two prompts only
    for prompt, start in zip(results["prompts"], ("the capital of {} is", "{} near"), strict=True):
        assert prompt["full"] == plain_p_at_1(tiny_gpt2, tiny_facts / "test" / "P36.jsonl", start)
        assert prompt["paper"] == {}
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
    patterns.write_text("{premise...} {hypothesis|bare}? [Y]\n")
    flags = {"model": str(study_model), "data_dir": str(study_tasks), "task": "rte"}
    flags |= {"patterns": str(patterns)}
    results, page = measure(flags, tmp_path / "out")
    by_text = {prompt["text"].partition(" (")[0]: prompt for prompt in results["prompts"]}
    mine = by_text["{premise...} {hypothesis|bare}? [Y]"]
    assert mine["source"] == "mine.txt" and mine["paper"] == {}
    assert {p["source"] for p in results["prompts"]} == {"built in", "mine.txt"}
    trials = {p.stem: json.loads(p.read_text()) for p in tmp_path.glob("out/RTE/trials/*.json")}
    found = sorted((t["dev"]["accuracy"], t["test"]["accuracy"]) for t in trials.values())
    assert found == sorted((p["small"], p["full"]) for p in results["prompts"])
    trial = trials["manual-manual_mine_1"]
    assert (mine["small"], mine["full"]) == (trial["dev"]["accuracy"], trial["test"]["accuracy"])
    papers = [prompt["paper"] for prompt in results["prompts"] if prompt["paper"]]
    assert {"small": 53.12, "full": 57.16} in papers
    assert "| paper, small | paper, full |" in page and "| 53.12 | 57.16 |" in page


def test_a_pattern_can_be_trained_with_first(study_model, study_tasks, tmp_path) -> None:
    flags = {"model": str(study_model), "data_dir": str(study_tasks), "task": "CB"}
    flags |= {"method": "pet", "max_steps": 1, "batch_size": 4, "repetitions": 2}
    results, _ = measure(flags, tmp_path / "out")
    # Of CB's patterns a causal model sees the whole of one.
    (prompt,) = results["prompts"]
    paths = [tmp_path / f"out/CB/trials/pet-manual_4-seed{seed}.json" for seed in (42, 43)]
    trials = [json.loads(path.read_text()) for path in paths]
    for score, part in ((prompt["small"], "dev"), (prompt["full"], "test")):
        assert score == pytest.approx(sum(trial[part]["accuracy"] for trial in trials) / 2)
    assert results["subject"] == "CB, pet on 8 records"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], "give --relation or --task"),
        (["--relation", "P36", "--task", "RTE"], "give --relation or --task"),
        (["--relation", "P99"], "unknown relation 'P99'"),
        (["--relation", "P36,P30"], "name one relation"),
        (["--relation", "P36", "--patterns", "x"], "--patterns is for a --task"),
        (["--relation", "P36", "--method", "pet"], "a relation is only asked"),
        (["--relation", "P36", "--prompts", "nowhere.txt"], "nowhere.txt: No such file"),
        (["--task", "CB"], "CB/train.jsonl does not exist"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    flags, reason, tiny_gpt2, tiny_facts, tmp_path, capsys
) -> None:
    place = ["--data_dir", str(tiny_facts), "--output_dir", str(tmp_path / "out")]
    assert main(["--model", str(tiny_gpt2), *place, *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ": error: " in line and reason in line
    assert not (tmp_path / "out").exists()
