"""The frozen forward pass against the plain Hugging Face model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.task.example import Example, collate

SUBJECTS = ("Norway", "the city near Oslo", "France")


@pytest.fixture(scope="module", params=["tiny_gpt2", "tiny_bert"])
def directory(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def backbone(directory: Path) -> Backbone:
    return load_backbone(str(directory))


def _plain_model(directory: Path, kind: str) -> torch.nn.Module:
    auto = AutoModelForMaskedLM if kind == "masked" else AutoModelForCausalLM
    return auto.from_pretrained(str(directory), attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def examples_of(fill: Callable[..., Example], backbone: Backbone) -> Callable[[str], list[Example]]:
    return lambda pattern: [fill(pattern, name, backbone.tokens) for name in SUBJECTS]


def _logits(backbone: Backbone, examples: list[Example], prompts: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return backbone.lm(collate(examples), prompts)


def test_without_slots_its_logits_are_the_plain_models(
    directory: Path, backbone: Backbone, examples_of: Callable[[str], list[Example]]
) -> None:
    examples = examples_of("[X] is located in [Y]")
    ours = _logits(backbone, examples, torch.zeros(1, 0, 32))
    plain = _plain_model(directory, backbone.kind)
    assert ours.shape == (3, 1, plain.config.vocab_size)
    for row, example in enumerate(examples):
        with torch.no_grad():
            expected = plain(torch.tensor([example.ids])).logits[0, example.targets[0]]
        torch.testing.assert_close(ours[row, 0], expected, atol=1e-5, rtol=1e-5)


def test_padding_does_not_change_logits(
    backbone: Backbone, examples_of: Callable[[str], list[Example]]
) -> None:
    examples = examples_of("[P]*2 [X] [P] [Y]")
    assert collate(examples).padded().is_padded
    prompts = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    together = _logits(backbone, examples, prompts)
    for row, example in enumerate(examples):
        alone = _logits(backbone, [example], prompts)
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-5)


def test_several_targets_of_a_row_are_read_in_one_pass(
    backbone: Backbone, examples_of: Callable[[str], list[Example]]
) -> None:
    first = examples_of("[X] is located in [Y]")[0]
    both = Example(0, first.ids, first.slots, (0, first.targets[0]), (1, 1))
    nothing = torch.zeros(1, 0, 32)
    logits = _logits(backbone, [both], nothing)
    assert logits.shape[:2] == (1, 2)
    torch.testing.assert_close(logits[:, 1], _logits(backbone, [first], nothing)[:, 0])


def test_no_parameter_requires_a_gradient_and_only_the_prompts_get_one(
    backbone: Backbone, examples_of: Callable[[str], list[Example]]
) -> None:
    assert not any(p.requires_grad for p in backbone.lm.parameters())
    prompts = torch.randn(1, 3, 32).requires_grad_()
    batch = collate(examples_of("[P]*2 [X] [P] [Y]"))
    backbone.lm(batch, prompts).square().mean().backward()
    assert prompts.grad.abs().sum() > 0
    assert all(p.grad is None for p in backbone.lm.parameters())


def test_it_stays_in_eval_mode(backbone: Backbone) -> None:
    backbone.lm.train()
    assert not any(module.training for module in backbone.lm.modules())


def test_a_backbone_knows_its_kind_and_sizes(directory: Path, backbone: Backbone) -> None:
    assert backbone.kind == ("masked" if "bert" in directory.name else "causal")
    assert backbone.hidden_size == 32
    assert 0.2 < float(backbone.embeddings.sample.std()) < 0.4


def test_the_same_files_have_the_same_fingerprint(directory: Path, backbone: Backbone) -> None:
    other = load_backbone(str(directory), dtype=torch.bfloat16)
    assert other.fingerprint == backbone.fingerprint
