"""What P-tuning gets out of a frozen model that knows facts, and out of one that does not."""

from pathlib import Path

import pytest

from ptune_scale.experiments.fact_bert.make import Made
from ptune_scale.lama.check import check
from ptune_scale.lama.config import LamaConfig
from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.methods import METHODS
from ptune_scale.parallel import Mesh, StopSignal, World
from ptune_scale.run.site import Site
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.use.export import PromptExport


def job_of(made: Made, data: Path, output: Path) -> LamaJob:
    flags = {"model": str(made.model), "data_dir": str(data), "dtype": "float32"}
    flags |= {"max_steps": 160, "tasks_per_batch": 4, "eval_every": 40}
    checked = check(LamaConfig.from_flags(flags))
    world = World()
    mesh = Mesh.build(world, checked.degrees)
    return LamaJob.of(checked, Site(mesh, StopSignal(world), output))


def p_at_1(predictions: dict[str, list[Prediction]]) -> float:
    ranks = [next(iter(p.ranks.values())) for each in predictions.values() for p in each if p.ranks]
    return sum(rank == 1 for rank in ranks) / len(ranks)


@pytest.fixture(scope="module")
def scores(fact_bert: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Micro P@1 over the whole vocabulary; one prompt, tuned on taught facts, answers both."""
    output = tmp_path_factory.mktemp("elicitation")
    job = job_of(fact_bert, fact_bert.facts, output)
    scores = {
        name: p_at_1(METHODS[name].run(job)[0].predictions)
        for name in ("majority", "manual", "ptuning")
    }
    prompts = PromptExport.load(output / "prompt").prompts
    control = job_of(fact_bert, fact_bert.untaught, output / "control")
    return scores | {
        "ptuning on untaught": p_at_1(control.answers(control.asked(), prompts, "tuned prompt")),
        "majority on untaught": p_at_1(METHODS["majority"].run(control)[0].predictions),
    }


def test_the_model_knows_what_it_was_taught(fact_bert):
    assert fact_bert.record["p_at_1_as_taught"] > 0.9


def test_a_tuned_prompt_gets_at_taught_facts_that_it_was_not_tuned_on(scores):
    assert scores["ptuning"] > scores["manual"] + 0.1
    assert scores["ptuning"] > scores["majority"] + 0.3


def test_of_facts_that_were_never_taught_it_knows_no_more_than_the_commonest_object(scores):
    assert scores["ptuning on untaught"] < scores["majority on untaught"] + 0.1
    assert scores["ptuning on untaught"] < scores["ptuning"] / 3
