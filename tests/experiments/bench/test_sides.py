"""The sides train on the same facts, and each does what it is said to do."""

import importlib.util
from dataclasses import fields, replace

import pytest
import torch
from torch.nn import functional as F

from ptune_scale.backbone.shortcuts import Shortcuts
from ptune_scale.experiments.bench.asking import PeftAsked, PlainAsked
from ptune_scale.experiments.bench.feed import Feed
from ptune_scale.experiments.bench.rounds import OURS
from ptune_scale.experiments.bench.sides import ABLATIONS, MAIN, build

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed"
)


def test_the_feed_knows_what_ours_takes_next(tiny_case):
    feed, ours = Feed(tiny_case), build(OURS, tiny_case)
    ours.start()
    for facts in (feed.round(steps=2), feed.round(facts=3), feed.round(facts=7)):
        assert ours.run(facts) == len(facts.rows)  # refuses other facts
        for other in (facts.batches, facts.by_length):
            assert sorted(map(repr, facts.rows)) == sorted(map(repr, sum(other, [])))
            assert list(map(len, facts.steps)) == list(map(len, other))
        lengths = [len(row.ids) for batch in facts.by_length for row in batch]
        assert lengths == sorted(lengths)


def test_ours_refuses_other_facts(tiny_case):
    ours = build(OURS, tiny_case)
    ours.start()
    facts = Feed(tiny_case).round(steps=1)
    others = replace(facts, steps=[facts.steps[0][:1]])
    with pytest.raises(RuntimeError, match="not comparable"):
        ours.run(others)


def test_the_reference_way_computes_our_loss(tiny_case):
    ours, reference = build(OURS, tiny_case), build("reference_way", tiny_case)
    ours.start(), reference.start()
    [group] = ours.trainer.bank.groups.values()
    reference.vectors.weight.data.copy_(group.vectors[0])
    reference.encoder.load_state_dict(group.encoder.state_dict())
    facts = Feed(tiny_case).round(steps=1)
    assert len(facts.steps[0]) > 1
    loss = reference.step(facts.batches[0])
    assert loss == pytest.approx(ours.step().loss, rel=1e-5)
    assert all(parameter.grad is None for parameter in reference.backbone.parameters())
    moved = reference.vectors.weight.detach() - group.vectors[0].detach()
    assert moved.abs().max() > 0


@needs_peft
def test_peft_trains_its_encoder_alone_on_the_object_alone(tiny_case):
    peft = build("peft_documented", tiny_case)
    peft.start()
    [examples] = Feed(tiny_case).round(steps=1).batches
    inputs = peft.collate(examples)
    texts = [[i for i, s in zip(e.ids, e.slots, strict=True) if s < 0] for e in examples]
    for row, (text, one) in enumerate(zip(texts, examples, strict=True)):
        length = len(text) + 1
        assert inputs["input_ids"][row, :length].tolist() == [*text, one.answers[0]]
        assert inputs["attention_mask"][row].sum() == length
        labels = inputs["labels"][row]
        assert labels[length - 1] == one.answers[0] and (labels >= 0).sum() == 1
    output = peft.model(**inputs)
    slots = tiny_case.num_slots
    ends = torch.tensor([slots + len(text) - 1 for text in texts])
    labels = torch.tensor([one.answers[0] for one in examples])
    at_end = output.logits[torch.arange(len(examples)), ends]
    assert output.loss.item() == pytest.approx(F.cross_entropy(at_end, labels).item(), rel=1e-5)
    before = {name: p.detach().clone() for name, p in peft.model.named_parameters()}
    peft.model(**inputs).loss.backward()
    gradients = {n: p.grad for n, p in peft.model.named_parameters() if p.grad is not None}
    assert gradients and all("prompt_encoder" in name for name in gradients)
    peft.step(examples)
    moved = {n for n, p in peft.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved and all("prompt_encoder" in name for name in moved)
    hidden_size = peft.backbone.config.hidden_size
    [lstm] = [m for m in peft.model.modules() if isinstance(m, torch.nn.LSTM)]
    assert (lstm.num_layers, lstm.hidden_size) == (2, hidden_size // 2)


@needs_peft
@pytest.mark.parametrize("name", MAIN)
def test_all_sides_train_on_the_same_facts(name, tiny_case):
    facts = Feed(tiny_case).round(facts=6)
    side = build(name, tiny_case)
    side.start()
    assert side.run(facts) == len(facts.rows)


@needs_peft
def test_other_sides_answer_behind_the_text(tiny_case):
    [rows] = Feed(tiny_case).round(steps=1).batches
    plain, peft = PlainAsked(tiny_case), PeftAsked(tiny_case)
    plain.start(), peft.start()
    for row, found in zip(rows, plain.answers(rows), strict=True):
        text = torch.tensor([[i for i, s in zip(row.ids, row.slots, strict=True) if s < 0]])
        assert tiny_case.backbone.lm.model(text).logits[0, -1].argmax() == found
        alone = peft.answers([row])
        labels = peft._way.model(text).logits[0, -1].argmax()
        assert alone.item() == labels.item()


def test_each_ablation_changes_something_and_each_shortcut_has_one(tiny_case):
    everything = Shortcuts(packed_weights=True, compiled_layers=True)
    model = replace(tiny_case.model, dtype="bfloat16")
    fastest = replace(tiny_case, shortcuts=everything, model=model)
    for name, change in ABLATIONS.items():
        assert change(fastest) != fastest, name
    assert {f"{field.name}_off" for field in fields(Shortcuts)} <= set(ABLATIONS)
