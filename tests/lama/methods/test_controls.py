"""Controls that train: nothing of the model, or of the facts, is in them."""

from collections import Counter

import pytest
import torch

from ptune_scale.errors import UserError
from ptune_scale.lama.check import check
from ptune_scale.lama.config import LamaConfig
from ptune_scale.lama.methods import METHODS, TRAINED_CONTROLS
from ptune_scale.lama.methods.controls import random_model, shuffled
from ptune_scale.lama.scores import build_results


@pytest.mark.parametrize("model", ["tiny_gpt2", "tiny_bert"])
def test_a_random_model_has_the_shape_and_nothing_else_of_the_backbone(model, job_of, request):
    backbone = job_of(request.getfixturevalue(model)).backbone
    ours = dict(backbone.lm.model.named_parameters())
    found = dict(random_model(backbone, seed=1).model.named_parameters())
    assert {n: p.shape for n, p in found.items()} == {n: p.shape for n, p in ours.items()}
    assert not any(torch.equal(found[n], p) for n, p in ours.items() if p.dim() > 1)
    again = dict(random_model(backbone, seed=1).model.named_parameters())
    assert all(torch.equal(found[name], again[name]) for name in found)


def test_shuffled_objects_are_as_frequent_as_before_and_the_test_stays(job_of, tiny_gpt2):
    [task, _] = job_of(tiny_gpt2).tasks
    other = shuffled(task, seed=1)
    before, after = task.splits.train, other.splits.learned
    assert Counter(r.answer for r in before) == Counter(r.answer for r in after)
    assert [r.answer for r in before] != [r.answer for r in after]
    assert other.splits.train == task.splits.train
    assert other.splits.test == task.splits.test
    assert other == shuffled(task, seed=1) != shuffled(task, seed=2)


def test_one_flag_puts_them_beside_the_methods_without_a_prompt_to_ask(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, method="ptuning", controls="on", max_steps=2)
    methods = job.config.methods
    assert methods == ("ptuning", *TRAINED_CONTROLS)
    results = [result for name in methods for result in METHODS[name].run(job)]
    found = build_results(job, results)
    assert set(found["controls"]) == set(TRAINED_CONTROLS)
    assert (job.output / "prompt").is_dir()
    assert not any((job.output / name / "prompt").exists() for name in TRAINED_CONTROLS)


def test_no_control_hides_that_no_method_was_named():
    assert LamaConfig.from_flags({"method": "", "controls": "on"}).methods == ()


def test_a_model_that_each_rank_holds_whole_is_refused_where_they_share_one(tiny_gpt2, tiny_facts):
    flags = {"model": str(tiny_gpt2), "data_dir": str(tiny_facts), "candidates": "full_vocab"}
    shared = flags | {"method": "ptuning", "num_gpus": 2, "zero_stage": 3}
    check(LamaConfig.from_flags(shared))
    with pytest.raises(UserError, match="random_model in layout zero3: .*add --zero_stage 0"):
        check(LamaConfig.from_flags(shared | {"controls": "on"}))
