"""The methods that train prompts: where they begin, what they keep, what they go on from."""

from pathlib import Path

import pytest
import torch

from ptune_scale import checkpoint, lama
from ptune_scale.errors import UserError
from ptune_scale.export import PromptExport
from ptune_scale.methods import METHODS, SETUPS, manual
from ptune_scale.methods.prompts import build_trainer

TRAINED = ",".join(SETUPS)
MODELS = ["tiny_gpt2", "tiny_bert"]


@pytest.mark.parametrize("encoder", ["lstm", "none"])
@pytest.mark.parametrize("model", MODELS)
def test_prompts_that_begin_as_the_manual_one_answer_like_it(model, encoder, job_of, request):
    job = job_of(
        request.getfixturevalue(model), method="ptuning_from_manual", encoder=encoder, head="all"
    )
    setup = job.setups["ptuning_from_manual"]
    dot = int(model == "tiny_bert")
    assert [template.num_slots for template in setup.templates] == [4 + dot, 3 + dot]
    with torch.no_grad():
        prompts = build_trainer(job, setup).encoders.encode([0, 1])
    examples = [example for relation in setup.test for example in relation]
    ranks = job.rank(examples, prompts, "test")[:, 0]
    assert torch.equal(ranks, manual.run(job)[0].ranks)


@pytest.mark.parametrize("model", MODELS)
def test_anchors_are_the_manual_prompt_behind_slots(model, job_of, request):
    job = job_of(request.getfixturevalue(model), method="ptuning_anchored")
    dot = "" if model == "tiny_gpt2" else " ."
    patterns = [t.pattern for t in job.setups["ptuning_anchored"].templates]
    assert patterns == [
        f"[P]*2 the capital of [X] is [Y]{dot}",
        f"[P]*2 [X] is located in [Y]{dot}",
    ]


def test_each_method_keeps_its_own_prompts_and_goes_on_from_its_own_checkpoint(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, method=TRAINED)
    results = [result for name in SETUPS for result in METHODS[name](job)]
    assert [result.name for result in results] == list(SETUPS) == list(job.training)
    out = job.output_dir
    for name, setup in job.setups.items():
        export = PromptExport.load(setup.directory(out) / "prompt")
        assert export.templates == setup.templates
        assert export.prompts.shape[:2] == (2, setup.num_slots)
        assert checkpoint.method_of(checkpoint.find_all(out)[name]) == name

    again = job_of(tiny_gpt2, method=TRAINED, resume_from=str(out))
    assert set(again.resume_from) == set(SETUPS)
    for name in SETUPS:
        assert torch.equal(METHODS[name](again)[0].ranks, METHODS[name](job)[0].ranks)
        assert again.throughput[name] == {}


def test_a_checkpoint_beside_others_is_refused_under_other_flags(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, method="ptuning_anchored")
    METHODS["ptuning_anchored"](job)
    one = checkpoint.find(job.output_dir)
    assert checkpoint.run_directory(one) == job.output_dir.resolve()
    with pytest.raises(UserError, match="lr was 0.01, is 0.02"):
        job_of(tiny_gpt2, method="ptuning_anchored", resume_from=str(one), lr=2e-2)


def test_a_run_that_went_on_with_other_methods_goes_on_with_them(tiny_gpt2, tiny_facts, tmp_path):
    out = str(tmp_path / "out")
    flags = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--dtype", "float32"]
    flags += ["--candidates", "full_vocab", "--dev_facts", "1", "--max_steps", "2"]
    assert lama.main([*flags, "--method", "ptuning", "--output_dir", out]) == 0
    assert lama.main(["--resume_from", out, "--method", "ptuning_anchored"]) == 0
    assert lama._resume(Path(out))["method"] == "ptuning_anchored"
