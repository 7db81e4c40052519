"""Training on a tiny random model, in one process, and what of it is saved."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from ptune_scale import checkpoint
from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.config import LamaConfig, TrainConfig
from ptune_scale.data.batch import Example
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.sampler import RelationOrder
from ptune_scale.errors import UserError
from ptune_scale.keeper import Keeper, load
from ptune_scale.parallel import LostContact, Stopped, StopSignal, World, single
from ptune_scale.problem import FactProblem
from ptune_scale.prompt import PromptBank
from ptune_scale.run_training import run_training
from ptune_scale.train import (
    Diverged,
    StepResult,
    Trainer,
    facts_per_visit,
    relations_per_step,
    tokens_per_visit,
)

CONFIG = TrainConfig(
    max_steps=12, batch_size=4, relations_per_batch=2, eval_every=3, lr=1e-2, warmup=0.0
)


def frozen_lm() -> FrozenLM:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.3
    )
    return FrozenLM(GPT2LMHeadModel(config))


def examples(relation: int, name: str, count: int) -> list[Example]:
    generator = torch.Generator().manual_seed(len(name) + ord(name[-1]))
    made = []
    for _ in range(count):
        n = int(torch.randint(1, 4, (1,), generator=generator))
        ids = torch.randint(0, 50, (n,), generator=generator).tolist()
        label = int(torch.randint(0, 50, (1,), generator=generator))
        made.append(Example(relation, (0, *ids, 0), (0, *[-1] * n, 1), (n + 1,), label))
    return made


def trainer(names: list[str], config: TrainConfig, sharing: str, lm: FrozenLM) -> Trainer:
    bank = PromptBank(names, 2, 16, sharing=sharing, seed=config.seed)
    size = facts_per_visit(config, len(names))
    tokens = tokens_per_visit(config, len(names))
    function = single(lm)
    return Trainer(
        bank,
        function,
        [
            RelationOrder(name, examples(i, name, 9), size, config.seed, tokens_per_visit=tokens)
            for i, name in enumerate(names)
        ],
        FactProblem(
            function,
            [examples(i, name + "dev", 5) for i, name in enumerate(names)],
            Candidates(50, {"full_vocab": None}),
            config,
            pad=0,
        ),
        config,
    )


@pytest.mark.parametrize("tokens", [0, 16])
def test_joint_run_with_own_encoders_equals_separate_runs(tokens):
    lm = frozen_lm()
    joint = trainer(["A", "B"], replace(CONFIG, batch_tokens=tokens), "none", lm)
    list(joint.train())
    alone = replace(CONFIG, batch_size=2, relations_per_batch=1, batch_tokens=tokens // 2)
    for row, name in enumerate(["A", "B"]):
        separate = trainer([name], alone, "none", lm)
        list(separate.train())
        torch.testing.assert_close(
            separate.bank([0])[0], joint.bank([row])[row], atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize(("sharing", "tokens"), [("all", 0), ("none", 0), ("all", 20)])
def test_resumed_equals_uninterrupted_to_the_bit(sharing, tokens):
    lm = frozen_lm()
    config = replace(CONFIG, batch_tokens=tokens)
    whole = trainer(["A", "B", "C"], config, sharing, lm)
    list(whole.train())
    first = trainer(["A", "B", "C"], config, sharing, lm)
    for _, _event in zip(range(7), first.train(), strict=False):
        pass
    second = trainer(["A", "B", "C"], config, sharing, lm)
    second.load_state_dict(first.state_dict())
    second.encoders.load_parts(first.encoders.parts().__getitem__)
    list(second.train())
    assert second.losses == whole.losses
    assert torch.equal(second.selection.prompts, whole.selection.prompts)


def test_steps_hold_as_many_facts_as_fit_into_the_tokens():
    config = replace(CONFIG, batch_tokens=24, max_steps=0, max_epochs=4, patience=0)
    assert relations_per_step(config, 3) == 2 and tokens_per_visit(config, 3) == 12
    assert relations_per_step(replace(config, batch_size=1), 3) == 2
    run = trainer(["A", "B", "C"], config, "all", frozen_lm())
    assert run.facts_in(run.budgets) == 4 * 3 * 9
    steps = [event for event in run.train() if isinstance(event, StepResult)]
    assert sum(step.facts for step in steps) == run.facts_in(run.visits) == 4 * 3 * 9
    assert max(step.tokens for step in steps) <= 24
    assert {step.facts for step in steps} > {4}


def test_examples_that_are_longer_than_the_tokens_of_a_step_come_one_by_one():
    config = replace(CONFIG, batch_tokens=1)
    run = trainer(["A", "B", "C"], config, "all", frozen_lm())
    steps = [event for event in run.train() if isinstance(event, StepResult)]
    assert {step.facts for step in steps} == {2} and len(steps) == 12


def test_few_tokens_in_an_evaluation_batch_change_no_score():
    outcomes = []
    for tokens in (0, 10):
        config = replace(CONFIG, eval_batch_tokens=tokens)
        run = trainer(["A", "B"], config, "all", frozen_lm())
        sizes, ranks = [], run.function.ranks

        def keep(batch, *given, sizes=sizes, ranks=ranks):
            sizes.append(batch.ids.numel())
            return ranks(batch, *given)

        run.function.ranks = keep
        list(run.train())
        outcomes.append((run.losses, run.selection.best, run.selection.best_visit))
        assert (max(sizes) <= 10) == bool(tokens)
    assert outcomes[0] == outcomes[1]


def test_the_facts_of_a_run_are_foreseen():
    config = replace(CONFIG, max_steps=0, max_epochs=2, patience=0)
    run = trainer(["A", "B"], config, "all", frozen_lm())
    assert run.facts_in(run.budgets) == 36 and run.facts_in(run.visits) == 0
    steps = [event for event in run.train() if isinstance(event, StepResult)]
    assert sum(step.facts for step in steps) == 36


@pytest.mark.parametrize("name", ["batch_tokens", "eval_batch_tokens"])
def test_a_negative_token_budget_is_refused(name):
    with pytest.raises(UserError, match=f"--{name} must be 0 or more, got -1"):
        LamaConfig.from_flags({name: -1})


def test_training_lowers_the_loss_and_leaves_the_backbone_alone():
    lm = frozen_lm()
    before = [p.clone() for p in lm.parameters()]
    config = TrainConfig(max_steps=60, batch_size=8, relations_per_batch=1, patience=0, lr=1e-2)
    run = trainer(["A"], config, "all", lm)
    list(run.train())
    assert run.losses[-1] < 0.8 * run.losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, lm.parameters(), strict=True))
    assert all(p.grad is None for p in lm.parameters())
    held = {
        id(p) for o in run.encoders.optimizers.values() for g in o.param_groups for p in g["params"]
    }
    assert not held & {id(p) for p in lm.parameters()}


def test_a_loss_that_is_not_finite_changes_nothing():
    run = trainer(["A"], CONFIG, "all", frozen_lm())
    events = run.train()
    for _ in range(3):
        next(events)
    before = {name: tensor.clone() for name, tensor in run.bank.state_dict().items()}
    step, evaluate = run.step, run.function.loss_and_gradient
    run.function.loss_and_gradient = lambda *given: (evaluate(*given)[0], torch.tensor(torch.nan))
    with pytest.raises(Diverged, match=r"gradient .* is not finite .* start again with a lower"):
        list(events)
    assert run.step == step and run.is_whole
    assert all(torch.equal(before[name], now) for name, now in run.bank.state_dict().items())


def fail_at(run: Trainer, step: int, error: BaseException, *, in_update: bool = False) -> None:
    """Let a trainer fail when it makes a step, before the update or in the midst of it."""
    owner, name = (run.encoders, "update") if in_update else (run.function, "loss_and_gradient")
    original = getattr(owner, name)

    def failing(*given):
        if run.step == step - 1:
            raise error
        return original(*given)

    setattr(owner, name, failing)


def keeper_of(run: Trainer, out: Path, resumed_from: Path | None = None) -> Keeper:
    return Keeper(run, World(), out / "checkpoint", {}, {}, resumed_from)


def finish(run: Trainer, out: Path, every: int, resumed_from: Path | None = None, **more) -> None:
    """Train to the end, as a method does."""
    run_training(
        keeper_of(run, out, resumed_from),
        more.get("stop", StopSignal(World())),
        title="test",
        names=[order.relation_id for order in run.orders],
        checkpoint_every=every,
        tensorboard=out / "tensorboard",
    )


def steps_saved(out: Path) -> list[int]:
    return [checkpoint.read_meta(p)["step"] for p in checkpoint.checkpoints(out / "checkpoint")]


@pytest.mark.parametrize(
    ("error", "saved"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer"), [5, 6]),
        (LostContact("lost contact with another rank (gloo: connection reset)"), [5, 6]),
        (OSError("disk full"), [5, 6]),
        (KeyboardInterrupt(), [5, 6]),
        (RuntimeError("prompt encoders differ between ranks"), [5]),
        (ValueError("a bug"), [5]),
    ],
)
def test_what_ends_a_run_decides_whether_its_state_is_saved(tmp_path, error, saved):
    run = trainer(["A"], CONFIG, "all", frozen_lm())
    fail_at(run, 7, error)
    with pytest.raises(type(error)) as raised:
        finish(run, tmp_path, 5)
    assert steps_saved(tmp_path) == saved
    notes = [] if 6 in saved else ["Nothing was saved: the last checkpoint is that of step 5."]
    assert getattr(raised.value, "__notes__", []) == notes


def test_a_half_made_update_is_not_saved(tmp_path):
    run = trainer(["A"], CONFIG, "all", frozen_lm())
    fail_at(run, 7, KeyboardInterrupt(), in_update=True)
    with pytest.raises(KeyboardInterrupt):
        finish(run, tmp_path, 5)
    assert steps_saved(tmp_path) == [5]


def test_divergence_names_the_last_checkpoint_and_saves_none(tmp_path):
    run = trainer(["A"], CONFIG, "all", frozen_lm())
    fail_at(run, 7, Diverged("the loss is nan; start again with a lower --lr"))
    message = "lower --lr; the last checkpoint is that of step 5"
    with pytest.raises(UserError, match=message):
        finish(run, tmp_path, 5)
    assert steps_saved(tmp_path) == [5]


def test_replicas_that_differ_are_not_saved(tmp_path):
    run = trainer(["A"], CONFIG, "all", frozen_lm())

    def differ(relations):
        if run.step == 10:
            raise RuntimeError("prompt encoders differ between ranks")

    run.encoders.check_replicas = differ
    with pytest.raises(RuntimeError, match="differ between ranks"):
        finish(run, tmp_path, 5)
    assert steps_saved(tmp_path) == [5]


def test_no_step_is_saved_twice(tmp_path, monkeypatch):
    run = trainer(["A"], CONFIG, "all", frozen_lm())
    saved, save = [], checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda *given, **more: saved.append(given[1]) or save(*given, **more)
    )
    finish(run, tmp_path / "to the end", 4)
    assert saved == [4, 8, 12]

    run = trainer(["A"], CONFIG, "all", frozen_lm())

    def stop_at_step_8():
        if run.step == 8:
            raise Stopped(15)

    stop = StopSignal(World())
    stop.check = stop_at_step_8
    saved.clear()
    with pytest.raises(Stopped):
        finish(run, tmp_path / "stopped", 4, stop=stop)
    assert saved == [4, 8]


def test_going_on_from_an_older_checkpoint_makes_its_run_the_newest(tmp_path):
    run = trainer(["A"], CONFIG, "all", frozen_lm())
    finish(run, tmp_path, 4)
    older, newest = checkpoint.checkpoints(tmp_path / "checkpoint")
    (newest / "state.pt").write_bytes(b"junk")
    again = trainer(["A"], CONFIG, "all", frozen_lm())
    load(again, older)
    fail_at(again, 11, OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        finish(again, tmp_path, 0, older)
    assert steps_saved(tmp_path) == [8, 10]
    assert (newest.parent / f"abandoned-{newest.name}").is_dir()
