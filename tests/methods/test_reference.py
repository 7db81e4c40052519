"""The preset ``reference``: what the published code does, where that is not what ours does."""

import pytest
import torch

from ptune_scale.data.batch import collate
from ptune_scale.errors import UserError
from ptune_scale.methods import METHODS
from ptune_scale.methods.prompts import build_trainer
from ptune_scale.parallel import single
from ptune_scale.template import NO_SLOT

REFERENCE = {"preset": "reference", "template": "(2, 1, 1)", "max_steps": 0, "max_epochs": 3}


def test_a_masked_model_reads_its_target_in_front_of_the_subject(job_of, tiny_bert):
    job = job_of(tiny_bert, **REFERENCE)
    setup = job.setups["ptuning"]
    assert setup.templates[0].pattern == "[P]*2 [Y] [P]*1 [X] [P]*1"
    example = setup.test[0][0]
    words = job.tokens.tokenizer.convert_ids_to_tokens(example.ids)
    assert words == [
        "[CLS]",
        "[PAD]",
        "[PAD]",
        "[MASK]",
        "[PAD]",
        "the",
        "Norway",
        "[PAD]",
        "[SEP]",
    ]
    assert example.slots == (-1, 0, 1, -1, 2, -1, -1, 3, -1)
    assert example.targets == (3, 3) and NO_SLOT == -1


def test_a_causal_model_is_trained_one_position_before_it_is_scored(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, **REFERENCE)
    setup = job.setups["ptuning"]
    assert setup.templates[0].pattern == "[P]*2 [X] [P]*1 [Y]" and setup.scored == 1
    examples = setup.train[0]
    assert [(e.targets[0], e.targets[1]) for e in examples] == [
        (len(e.ids) - 2, len(e.ids) - 1) for e in examples
    ]
    trainer = build_trainer(job, setup)
    batch, objective = trainer.problem.batch(examples)
    with torch.no_grad():
        prompts = trainer.encoders.encode([0, 1])
        logits = job.backbone.load_model()(
            inputs_embeds=_embedded(job, batch, prompts), attention_mask=_mask(batch)
        ).logits
    rows = torch.arange(len(batch))
    expected = -logits.log_softmax(-1)[rows, batch.lengths - 2, batch.labels]
    job.backbone.lm.dropout = False
    found = single(job.backbone.lm).loss_and_gradient(batch, prompts, objective)[0][0]
    torch.testing.assert_close(found, expected.mean(), atol=1e-5, rtol=1e-5)


def _embedded(job, batch, prompts):
    words = job.backbone.embeddings.matrix[batch.ids]
    at = batch.slots >= 0
    words[at] = prompts[batch.relations[:, None].expand_as(batch.slots)[at], batch.slots[at]]
    return words


def _mask(batch):
    return (torch.arange(batch.ids.shape[1]) < batch.lengths[:, None]).long()


def test_dev_is_scored_after_each_epoch_but_the_last_and_ties_win(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, **REFERENCE)
    METHODS["ptuning"](job)
    visits = job.training["ptuning"]["best_visit_of_relation"]
    # One visit is an epoch of these few facts: of three, the second is the last that is scored.
    assert set(visits.values()) == {2}


@pytest.mark.parametrize("model", ["tiny_gpt2", "tiny_bert"])
def test_a_frozen_backbone_has_dropout_in_training_only(model, job_of, request):
    job = job_of(request.getfixturevalue(model), **REFERENCE)
    setup = job.setups["ptuning"]
    batch = collate(setup.train[0], 0)
    prompts = torch.randn(2, setup.num_slots, job.backbone.hidden_size)
    losses = [float(job.function.loss_and_gradient(batch, prompts)[0][0]) for _ in range(2)]
    assert losses[0] != losses[1]
    asked = batch.labels.view(-1, 1, 1).expand(-1, 2, 1)
    first, second = (job.function.log_probabilities(batch, prompts, asked) for _ in range(2))
    assert torch.equal(first, second)
    assert not any(p.requires_grad for p in job.backbone.lm.parameters())


def test_what_is_no_layout_is_refused(job_of, tiny_gpt2):
    for template in ("(3, sub, 3, obj)", "(3, 3)", "[P] [X] [Y]"):
        with pytest.raises(UserError, match="three numbers of prompt slots"):
            job_of(tiny_gpt2, preset="reference", template=template)


def test_anchors_have_as_many_slots_in_front_as_the_layout(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, **{**REFERENCE, "method": "ptuning_anchored"})
    assert job.setups["ptuning_anchored"].num_slots == 4
