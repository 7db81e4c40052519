"""What P-tuning gets out of a frozen model that knows facts, and out of one that does not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ptune_scale.assemble import build_job
from ptune_scale.check import check
from ptune_scale.config import LamaConfig
from ptune_scale.export import PromptExport
from ptune_scale.fact_bert import Made
from ptune_scale.job import Job
from ptune_scale.methods import METHODS
from ptune_scale.parallel import Degrees, Mesh, StopSignal, World


def _job(made: Made, data: Path, output: Path) -> Job:
    flags: dict[str, Any] = {
        "model": str(made.model),
        "data_dir": str(data),
        "dtype": "float32",
        "max_steps": 160,
        "relations_per_batch": 4,
        "eval_every": 40,
    }
    config = LamaConfig.from_flags(flags)
    world = World()
    mesh = Mesh.build(world, Degrees())
    return build_job(config, check(config), flags, mesh, StopSignal(world), output)


def _p_at_1(ranks: torch.Tensor) -> float:
    return float((ranks[:, 0] == 1).float().mean())


@pytest.fixture(scope="module")
def scores(fact_bert: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Micro P@1 over the whole vocabulary; one prompt, tuned on taught facts, answers both."""
    output = tmp_path_factory.mktemp("elicitation")
    job = _job(fact_bert, fact_bert.facts, output)
    scores = {
        name: _p_at_1(METHODS[name](job)[0].ranks) for name in ("majority", "manual", "ptuning")
    }
    prompts = PromptExport.load(output / "prompt").prompts
    control = _job(fact_bert, fact_bert.untaught, output / "control")
    examples = [example for relation in control.setups["ptuning"].test for example in relation]
    ranks = control.rank(examples, prompts, "tuned prompt")[:, 0]
    return scores | {
        "ptuning on untaught": _p_at_1(ranks),
        "majority on untaught": _p_at_1(METHODS["majority"](control)[0].ranks),
    }


def test_the_model_knows_what_it_was_taught(fact_bert):
    assert fact_bert.record["p_at_1_as_taught"] > 0.9


def test_a_tuned_prompt_gets_at_taught_facts_that_it_was_not_tuned_on(scores):
    assert scores["ptuning"] > scores["manual"] + 0.1
    assert scores["ptuning"] > scores["majority"] + 0.3


def test_of_facts_that_were_never_taught_it_knows_no_more_than_the_commonest_object(scores):
    assert scores["ptuning on untaught"] < scores["majority on untaught"] + 0.1
    assert scores["ptuning on untaught"] < scores["ptuning"] / 3
