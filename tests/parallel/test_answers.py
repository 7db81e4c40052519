"""A loss over some words alone."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from ptune_scale.backbone import load_backbone
from ptune_scale.data.batch import Example, collate
from ptune_scale.parallel import Degrees, Mesh, World, parallelize

WORDS = [3, 7, 8, 20, 41]


@pytest.mark.parametrize("family", ["llama", "llama_untied", "gpt2", "bert"])
def test_loss_over_words_is_that_of_their_columns_and_ranks_stay_over_all(family, small_model):
    directory: Path = small_model(family)
    rows = [
        Example(0, (5, word, 0, 0), (-1, -1, 0, 1), (3,), label)
        for word, label in ((4, 7), (9, 41), (2, 3))
    ]
    batch = collate(rows, 0)
    mesh = Mesh.build(World(), Degrees())
    backbone = load_backbone(str(directory))
    function = parallelize(backbone, mesh, answers=reversed(WORDS))
    prompts = torch.randn(1, 2, backbone.hidden_size)
    losses, gradient = function.loss_and_gradient(batch, prompts)

    leaf = prompts.clone().requires_grad_()
    logits = load_backbone(str(directory)).lm(batch, leaf)[:, 0, WORDS]
    labels = torch.tensor([WORDS.index(row.label) for row in rows])
    expected = F.cross_entropy(logits, labels)
    expected.backward()
    torch.testing.assert_close(losses[0], expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, leaf.grad, atol=1e-6, rtol=1e-5)
    assert function.engine.lm(batch, prompts).shape[-1] == backbone.vocab_size
