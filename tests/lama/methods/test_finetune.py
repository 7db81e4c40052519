"""Fine-tuning learns, leaves the frozen backbone alone, and goes on where it was stopped."""

import pytest
import torch

from ptune_scale.errors import UserError
from ptune_scale.lama.check import check
from ptune_scale.lama.config import LamaConfig
from ptune_scale.lama.methods import METHODS
from ptune_scale.parallel import Stopped, StopSignal, World
from ptune_scale.train import checkpoint
from ptune_scale.train.trainer import Diverged

FLAGS = {
    "method": "mp_ft,ft",
    "max_steps": 24,
    "batch_size": 4,
    "tasks_per_batch": 2,
    "eval_every": 6,
    "backbone_lr": 1e-2,
}


class StopsAfter(StopSignal):
    """A stop signal that comes after so many looks at it."""

    def __init__(self, looks: int) -> None:
        super().__init__(World())
        self.looks = looks

    def check(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise Stopped(2)


@pytest.mark.parametrize("method", ["mp_ft", "ft"])
@pytest.mark.parametrize("model", ["tiny_gpt2", "tiny_bert"])
def test_the_loss_falls_and_frozen_weights_stay(method, model, job_of, request):
    directory = request.getfixturevalue(model)
    files = {path: path.read_bytes() for path in directory.iterdir()}
    job = job_of(directory, **FLAGS)
    before = [p.detach().clone() for p in job.function.engine.lm.parameters()]
    [result] = METHODS[method].run(job)
    losses = job.training[method]["losses_of_relation"]
    assert losses.keys() == {"P36", "P30"} == result.predictions.keys()
    for of_relation in losses.values():
        assert sum(of_relation[-3:]) < 0.5 * sum(of_relation[:3])
    assert all(len(found) == 4 for found in result.predictions.values())
    after = job.function.engine.lm.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(not p.requires_grad and p.grad is None for p in job.function.engine.lm.parameters())
    assert files == {path: path.read_bytes() for path in directory.iterdir()}


def test_what_was_learned_is_scored(job_of, tiny_gpt2):
    """Facts of one relation that all have the same object come to be answered by it."""
    job = job_of(tiny_gpt2, **FLAGS, relations="P30")
    [result] = METHODS["mp_ft"].run(job)
    assert {each.answer for each in result.predictions["P30"]} == {"Europe"}
    assert {each.ranks["full_vocab"] for each in result.predictions["P30"]} == {1}


def test_objects_of_any_length_are_learned_to_their_end(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, **FLAGS, relations="P30", objects="all")
    [result] = METHODS["mp_ft"].run(job)
    assert {each.answer for each in result.predictions["P30"]} == {"Europe"}


def test_a_stopped_run_goes_on_with_the_next_relation(job_of, tiny_gpt2, tmp_path):
    whole = job_of(tiny_gpt2, **FLAGS, output=tmp_path / "whole")
    expected = METHODS["mp_ft"].run(whole)
    steps = [len(x) for x in whole.training["mp_ft"]["losses_of_relation"].values()]
    out = tmp_path / "stopped"
    # Building the job looks twice; evaluations look once a batch, and there are at most eight.
    stop = StopsAfter(2 + steps[0] + 8 + 2)
    with pytest.raises(Stopped):
        METHODS["mp_ft"].run(job_of(tiny_gpt2, **FLAGS, output=out, stop=stop))
    assert [path.name for path in checkpoint.checkpoints(out / "mp_ft" / "checkpoint")] == [
        "step-000001"
    ]
    spent: dict[str, float] = {}
    for nothing_left in (False, True):
        path = str(checkpoint.find(out))
        resumed = job_of(tiny_gpt2, **FLAGS, output=out, resume_from=path)
        assert METHODS["mp_ft"].run(resumed) == expected
        throughput = resumed.training["mp_ft"]["throughput"]
        assert throughput["seconds"] > 0 and (throughput == spent) == nothing_left
        spent = throughput


def test_other_settings_than_it_was_begun_with_are_refused(job_of, tiny_gpt2, tmp_path):
    flags = {**FLAGS, "max_steps": 2, "output": tmp_path}
    METHODS["ft"].run(job_of(tiny_gpt2, **flags))
    flags |= {"backbone_lr": 0.5, "resume_from": str(checkpoint.find(tmp_path))}
    with pytest.raises(UserError, match="backbone_lr was 0.01, is 0.5"):
        METHODS["ft"].run(job_of(tiny_gpt2, **flags))


def test_a_loss_that_is_not_finite_ends_it(job_of, tiny_gpt2):
    flags = {**FLAGS, "backbone_lr": 1e30, "max_grad_norm": 0, "warmup": 0}
    with pytest.raises(Diverged, match="start again with a lower --backbone_lr"):
        METHODS["mp_ft"].run(job_of(tiny_gpt2, **flags))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tensor_parallel": 2, "num_gpus": 2}, "leave out --tensor_parallel"),
        ({"pipeline_parallel": 2, "num_gpus": 2}, "leave out --tensor_parallel"),
        ({"weight_bits": "8"}, "--weight_bits 8 with --method mp_ft"),
        ({"backbone_lr": 0.0}, "--backbone_lr must be a positive number"),
        ({"backbone_weight_decay": -1.0}, "--backbone_weight_decay must be 0 or more"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(flags, message, tiny_gpt2, tiny_facts):
    asked = {"model": str(tiny_gpt2), "data_dir": str(tiny_facts), "method": "mp_ft", **flags}
    with pytest.raises(UserError, match=message):
        check(LamaConfig.from_flags(asked))
