"""PEFT's prompt tuning beside ours: the same rows without slots, scored alike, its own prompt."""

import importlib.util
import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from ptune_scale.errors import UserError
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.experiments.bench.few_shot import few_shot_tasks
from ptune_scale.experiments.bench.peft_prompt import NUM_VECTORS, PeftPromptTuning
from ptune_scale.experiments.bench.report import write
from ptune_scale.experiments.bench.sections import Bench
from ptune_scale.task.example import Example, collate
from ptune_scale.task.objective import cross_entropy

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed"
)

ROWS = [
    # A slot in the middle, one at the end, and none.
    Example(0, (5, 0, 6, 7), (-1, 0, -1, -1), (3,), (9,)),
    Example(0, (5, 6, 8, 0), (-1, -1, -1, 0), (3,), (4,)),
    Example(0, (3, 4), (-1, -1), (1,), (2,)),
    # Three targets, the first of which is a slot, and the answer's tokens behind it.
    Example(0, (5, 0, 7, 8), (-1, 0, -1, -1), (1, 2, 3), (7, 8, 9)),
]


@pytest.fixture(scope="module")
def side(tiny_case) -> PeftPromptTuning:
    model = AutoModelForCausalLM.from_pretrained(tiny_case.model.model, dtype=torch.float32)
    return PeftPromptTuning(tiny_case, model, rate=0.05, seed=0)


@needs_peft
def test_what_is_found_is_the_models_own_behind_the_vectors(side, tiny_case) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_case.model.model, dtype=torch.float32)
    vectors = side.prompt.detach()
    assert vectors.shape == (NUM_VECTORS, model.config.hidden_size)
    found = side.log_probabilities(collate(ROWS), torch.empty(0))
    for row, given in zip(ROWS, found, strict=True):
        ids = torch.tensor([i for i, slot in zip(row.ids, row.slots, strict=True) if slot < 0])
        words = torch.cat([vectors, model.get_input_embeddings()(ids)])
        ends = model(inputs_embeds=words[None]).logits[0, -len(row.targets) :].log_softmax(-1)
        expected = [end[answer].item() for end, answer in zip(ends, row.answers, strict=True)]
        assert given[: len(expected)].tolist() == pytest.approx(expected, abs=1e-4)
        assert not given[len(expected) :].any()


@needs_peft
def test_it_learns_and_goes_back_to_the_step_that_was_kept(side) -> None:
    batch = collate(ROWS)
    before = side.prompt.detach().clone()
    losses = [float(-side.log_probabilities(batch, torch.empty(0)).mean())]
    for _ in range(8):
        side.step([(batch, cross_entropy)], share_left=1.0)
    losses.append(float(-side.log_probabilities(batch, torch.empty(0)).mean()))
    assert losses[1] < losses[0] - 0.1
    side.take_back(before)
    assert float(-side.log_probabilities(batch, torch.empty(0)).mean()) == losses[0]


@needs_peft
def test_it_writes_the_likeliest_tokens_one_after_another(side) -> None:
    rows = ROWS[2:3]
    [written] = side.generate(collate(rows), torch.empty(0), max_tokens=3)
    ids = list(rows[0].ids)
    for token in written.tokens:
        row = Example(0, tuple(ids), (-1,) * len(ids), (len(ids) - 1,), (0,))
        assert side.top(collate([row]), torch.empty(0), 1)[1].item() == token
        ids.append(token)
    assert len(written.tokens) == 3


@needs_peft
def test_each_task_rate_and_seed_trains_for_the_time_asked(
    tiny_case, tiny_causal, tiny_tasks, tmp_path
):
    flags = {"model": str(tiny_causal), "dtype": "float32", "few_shot": str(tiny_tasks)}
    flags |= {"tasks": "CB,COPA,WSC", "repetitions": 2, "minutes": 0.03, "prompt_rates": "0.01,0.1"}
    config = BenchSections.from_flags(flags)
    result: dict = {}
    case = replace(tiny_case, config=config, model=config.model)
    Bench(config, case, ()).run("few_shot", result)
    made = [(point["task"], point["rate"], point["seed"]) for point in result["trainings"]]
    assert made == [
        (task, rate, seed)
        for task in ("CB", "COPA", "WSC")
        for rate in (0.01, 0.1)
        for seed in (34, 35)
    ]
    for point in result["trainings"]:
        assert point["cpu_seconds"] >= 0.6 and point["records"] > 0
        assert all(0 <= value <= 1 for value in (*point["dev"].values(), *point["test"].values()))
        assert max(point["decisive"]) > -math.inf
    table = write({"few_shot": result}, 1, tmp_path)
    assert table.count("| CB |") == 2 and table.count("| * |") >= 3


def test_what_is_wrong_with_the_tasks_is_said_first(tiny_llama, tmp_path) -> None:
    with pytest.raises(UserError, match="--prompt_rates '0.1,fast'"):
        BenchSections.from_flags({"model": str(tiny_llama), "prompt_rates": "0.1,fast"})
    flags = {"model": str(tiny_llama), "sections": "few_shot", "few_shot": str(tmp_path)}
    with pytest.raises(UserError, match="does not exist"):
        few_shot_tasks(BenchSections.from_flags(flags))
    with pytest.raises(UserError, match="--few_shot DIR is needed"):
        BenchSections.from_flags({"model": str(tiny_llama), "sections": "few_shot"})
