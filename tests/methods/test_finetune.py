"""Fine-tuning learns, leaves the frozen backbone alone, and goes on where it was stopped."""

from pathlib import Path

import pytest
import torch

from ptune_scale import checkpoint
from ptune_scale.assemble import build_job
from ptune_scale.check import check
from ptune_scale.config import LamaConfig
from ptune_scale.data.batch import Example
from ptune_scale.errors import UserError
from ptune_scale.finetune import courses
from ptune_scale.job import Job
from ptune_scale.methods import METHODS
from ptune_scale.parallel import Degrees, Mesh, Stopped, StopSignal, World
from ptune_scale.train import Diverged


class StopsAfter(StopSignal):
    """A stop signal that comes after so many looks at it."""

    def __init__(self, looks: int) -> None:
        super().__init__(World())
        self.looks = looks

    def check(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise Stopped(2)


def make_job(model: Path, facts: Path, output: Path, looks: int = 10**6, **more: object) -> Job:
    flags = {
        "model": str(model),
        "data_dir": str(facts),
        "dtype": "float32",
        "method": "mp_ft,ft",
        "candidates": "full_vocab",
        "dev_facts": 1,
        "max_steps": 24,
        "batch_size": 4,
        "relations_per_batch": 2,
        "eval_every": 6,
        "backbone_lr": 1e-2,
        "output_dir": str(output),
        **more,
    }
    config = LamaConfig.from_flags(flags)
    world = World()
    return build_job(
        config, check(config), flags, Mesh.build(world, Degrees()), StopsAfter(looks), output
    )


@pytest.mark.parametrize("method", ["mp_ft", "ft"])
@pytest.mark.parametrize("model", ["tiny_gpt2", "tiny_bert"])
def test_the_loss_falls_and_frozen_weights_stay(method, model, tiny_facts, tmp_path, request):
    directory = request.getfixturevalue(model)
    files = {path: path.read_bytes() for path in directory.iterdir()}
    job = make_job(directory, tiny_facts, tmp_path)
    before = [p.detach().clone() for p in job.function.engine.lm.parameters()]
    [result] = METHODS[method](job)
    losses = job.training[method]["losses_of_relation"]
    assert losses.keys() == {"P36", "P30"}
    for of_relation in losses.values():
        assert sum(of_relation[-3:]) < 0.5 * sum(of_relation[:3])
    assert result.ranks.shape == (8, len(job.candidates.names))
    after = job.function.engine.lm.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(not p.requires_grad and p.grad is None for p in job.function.engine.lm.parameters())
    assert files == {path: path.read_bytes() for path in directory.iterdir()}


def test_what_was_learned_is_scored(tiny_gpt2, tiny_facts, tmp_path):
    """Facts of one relation that all have the same object come to be answered by it."""
    job = make_job(tiny_gpt2, tiny_facts, tmp_path, relations="P30")
    [result] = METHODS["mp_ft"](job)
    assert bool((result.ranks[:, 0] == 1).all())


def test_a_relation_sees_as_many_facts_as_in_a_joint_run():
    config = LamaConfig.from_flags(
        {"max_steps": 40, "batch_size": 8, "relations_per_batch": 2}
    ).train
    examples = [[Example(r, (1, 2), (-1, -1), (1,), 3)] * count for r, count in ((0, 16), (1, 6))]
    first, second = courses(config, ["P36", "P30"], examples)
    # In a joint run each step takes four facts of each: 40 x 4. Alone, a step takes eight.
    assert (first.steps, first.facts) == (20, 160)
    # The joint run scores a relation every 25 of its visits, which hold as many facts as 12 steps.
    assert first.eval_every == 12
    # Of six facts a joint epoch makes chunks of four and two, three on average: 40 x 3.
    assert (second.steps, second.facts) == (20, 120)


def test_a_stopped_run_goes_on_with_the_next_relation(tiny_gpt2, tiny_facts, tmp_path):
    whole = make_job(tiny_gpt2, tiny_facts, tmp_path / "whole")
    [expected] = METHODS["mp_ft"](whole)
    steps = [len(x) for x in whole.training["mp_ft"]["losses_of_relation"].values()]
    out = tmp_path / "stopped"
    # Building the job looks twice; evaluations look once a batch, and there are at most four.
    job = make_job(tiny_gpt2, tiny_facts, out, looks=2 + steps[0] + 4 + 2)
    with pytest.raises(Stopped):
        METHODS["mp_ft"](job)
    assert [path.name for path in checkpoint.checkpoints(out / "mp_ft" / "checkpoint")] == [
        "step-000001"
    ]
    resumed = make_job(tiny_gpt2, tiny_facts, out, resume_from=str(checkpoint.find(out)))
    [found] = METHODS["mp_ft"](resumed)
    assert torch.equal(found.ranks, expected.ranks)
    again = make_job(tiny_gpt2, tiny_facts, out, resume_from=str(checkpoint.find(out)))
    [found] = METHODS["mp_ft"](again)
    assert torch.equal(found.ranks, expected.ranks)
    assert "mp_ft" not in again.throughput  # nothing was left to train


def test_other_settings_than_it_was_begun_with_are_refused(tiny_gpt2, tiny_facts, tmp_path):
    METHODS["ft"](make_job(tiny_gpt2, tiny_facts, tmp_path, max_steps=2))
    changed = {"max_steps": 2, "backbone_lr": 0.5}
    changed |= {"resume_from": str(checkpoint.find(tmp_path))}
    with pytest.raises(UserError, match="backbone_lr was 0.01, is 0.5"):
        METHODS["ft"](make_job(tiny_gpt2, tiny_facts, tmp_path, **changed))


def test_a_loss_that_is_not_finite_ends_it(tiny_gpt2, tiny_facts, tmp_path):
    job = make_job(tiny_gpt2, tiny_facts, tmp_path, backbone_lr=1e30, max_grad_norm=0, warmup=0)
    with pytest.raises(Diverged, match="start again with a lower --backbone_lr"):
        METHODS["mp_ft"](job)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tensor_parallel": 2, "num_gpus": 2}, "leave out --tensor_parallel"),
        ({"pipeline_parallel": 2, "num_gpus": 2}, "leave out --tensor_parallel"),
        ({"loss_over": "candidates"}, "--loss_over candidates with --method mp_ft"),
        ({"weight_bits": "8"}, "--weight_bits 8 with --method mp_ft"),
        ({"backbone_lr": 0.0}, "--backbone_lr must be a positive number"),
        ({"backbone_weight_decay": -1.0}, "--backbone_weight_decay must be 0 or more"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    flags, message, tiny_gpt2, tiny_facts, tmp_path
):
    asked = {"model": str(tiny_gpt2), "data_dir": str(tiny_facts), "method": "mp_ft", **flags}
    with pytest.raises(UserError, match=message):
        check(LamaConfig.from_flags({**asked, "output_dir": str(tmp_path / "out")}))
