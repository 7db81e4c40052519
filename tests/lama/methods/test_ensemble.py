"""Prompts asked together: which are trained, what they answer, what a wrong name says."""

import pytest

from ptune_scale.errors import UserError
from ptune_scale.lama.methods import METHODS
from ptune_scale.use.export import PromptExport

MODELS = ["tiny_gpt2", "tiny_bert"]


def by_name(results):  # noqa: ANN001, ANN201
    return {result.name: result for result in results}


@pytest.mark.parametrize("model", MODELS)
def test_a_prompt_of_words_is_asked_as_it_is_alone(model, job_of, request) -> None:
    flags = {"ensemble": "manual,plain,demonstrated", "demonstrations": 2}
    job = job_of(request.getfixturevalue(model), method="ptuning_ensemble", **flags)
    found = by_name(METHODS["ptuning_ensemble"].run(job))
    manual = METHODS["manual"].run(job)[0].predictions
    together = found["ptuning_ensemble_manual"].predictions
    for name, predictions in manual.items():
        assert [p.ranks for p in together[name]] == [p.ranks for p in predictions]
    export = PromptExport.load(job.output / "ptuning_ensemble" / "prompt")
    assert [task.name for task in export.tasks] == [
        f"{relation}/{member}"
        for relation in ("P36", "P30")
        for member in ("plain", "demonstrated")
    ]


def test_one_prompt_answers_together_as_alone_and_a_stopped_run_goes_on(job_of, tiny_gpt2) -> None:
    flags = {"method": "ptuning_ensemble", "ensemble": "plain", "dev_facts": 0}
    job = job_of(tiny_gpt2, **flags)
    found = by_name(METHODS["ptuning_ensemble"].run(job))
    weighted = found["ptuning_ensemble_weighted"].predictions
    assert weighted == found["ptuning_ensemble_plain"].predictions
    again = job_of(tiny_gpt2, **flags, resume_from=str(job.output))
    second = by_name(METHODS["ptuning_ensemble"].run(again))
    assert second["ptuning_ensemble"].predictions == found["ptuning_ensemble"].predictions


@pytest.mark.parametrize(
    ("ensemble", "message"),
    [("plain,mined", "mined: choose from plain"), ("manual,incontext", "no prompt with slots")],
)
def test_members_are_known_and_one_has_slots(ensemble, message, job_of, tiny_gpt2) -> None:
    with pytest.raises(UserError, match=message):
        job_of(tiny_gpt2, method="ptuning_ensemble", ensemble=ensemble)
