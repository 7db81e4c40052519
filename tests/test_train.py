"""Training on a tiny random model, in one process."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.config import TrainConfig
from ptune_scale.data.batch import Example
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.sampler import RelationOrder
from ptune_scale.parallel import single
from ptune_scale.prompt import PromptBank
from ptune_scale.train import Trainer, facts_per_visit

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
    return Trainer(
        bank,
        single(lm),
        [
            RelationOrder(name, examples(i, name, 9), size, config.seed)
            for i, name in enumerate(names)
        ],
        [examples(i, name + "dev", 5) for i, name in enumerate(names)],
        Candidates(50, {"full_vocab": None}),
        config,
        pad=0,
    )


def test_joint_run_with_own_encoders_equals_separate_runs():
    lm = frozen_lm()
    joint = trainer(["A", "B"], CONFIG, "none", lm)
    list(joint.train())
    alone = TrainConfig(
        max_steps=12, batch_size=2, relations_per_batch=1, eval_every=3, lr=1e-2, warmup=0.0
    )
    for row, name in enumerate(["A", "B"]):
        separate = trainer([name], alone, "none", lm)
        list(separate.train())
        torch.testing.assert_close(
            separate.bank([0])[0], joint.bank([row])[row], atol=1e-5, rtol=1e-4
        )


def test_resumed_equals_uninterrupted_to_the_bit():
    lm = frozen_lm()
    whole = trainer(["A", "B", "C"], CONFIG, "all", lm)
    list(whole.train())
    first = trainer(["A", "B", "C"], CONFIG, "all", lm)
    for _, _event in zip(range(7), first.train(), strict=False):
        pass
    second = trainer(["A", "B", "C"], CONFIG, "all", lm)
    second.load_state_dict(first.state_dict())
    second.encoders.load_parts(first.encoders.parts().__getitem__)
    list(second.train())
    assert second.losses == whole.losses
    assert torch.equal(second.selection.prompts, whole.selection.prompts)


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
