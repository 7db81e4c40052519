"""Each shortcut leaves the losses and prompt gradients of the plain forward pass."""

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from ptune_scale.backbone import FrozenLM
from ptune_scale.backbone.families import FAMILIES
from ptune_scale.backbone.megatron import MegatronConfig, MegatronForCausalLM
from ptune_scale.backbone.shortcuts import DEFAULT, PLAIN, Shortcuts
from ptune_scale.parallel import single
from ptune_scale.task.example import Batch, Example, collate

VOCABULARY, SLOTS = 61, 3
RELATIVE = 1e-5
PACKED = [name for name, family in FAMILIES.items() if family.can_pack]
PREPARED = [name for name, family in FAMILIES.items() if family.can_prepare]
SWITCHES = {
    "packing": replace(PLAIN, packing=True),
    "packing without backward of the lead": replace(PLAIN, packing=True, skip_lead=True),
    "head at targets": replace(PLAIN, head_at_targets=True),
    "loss in chunks": replace(PLAIN, chunked_loss=True),
    "words and prompts in one pass": replace(PLAIN, fused_splice=True),
    "prepared layers": replace(PLAIN, packing=True, prepared_layers=True),
    "last layer at targets": Shortcuts(skip_lead=False),
    "all by default": DEFAULT,
    "all by default, head everywhere": Shortcuts(head_at_targets=False),
}


def network(family: str, attention: str = "eager", **settings: object) -> PreTrainedModel:
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    sizes |= {"vocab_size": VOCABULARY, "intermediate_size": 48, "initializer_range": 0.2}
    if family == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": VOCABULARY}
        sizes |= {"n_positions": 64, "initializer_range": 0.2}
    elif family != "fairseq_megatron":
        sizes |= {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if family == "fairseq_megatron":
            model = MegatronForCausalLM(MegatronConfig(**sizes)).eval()
        else:
            config = CONFIG_MAPPING[family](**{**sizes, **settings})
            model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:  # new norms scale by one, new biases are zero
                parameter.data += 0.3 * torch.randn_like(parameter)
        return model


def row(task: int, words: int, pattern: str, seed: int) -> Example:
    """A row such as "pwp": prompt slot, words, prompt slot; every other letter is a fixed token."""
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = []
    slots: list[int] = []
    used = 0
    for letter in pattern:
        if letter == "p":
            ids.append(0)
            slots.append(used)
            used += 1
        elif letter == "w":
            ids += torch.randint(1, VOCABULARY, (words,), generator=generator).tolist()
            slots += [-1] * words
        else:
            ids.append(ord(letter) % VOCABULARY)
            slots.append(-1)
    answer = int(torch.randint(1, VOCABULARY, (1,), generator=generator))
    return Example(task, tuple(ids), tuple(slots), (len(ids) - 1,), (answer,))


def batch_of(*patterns: str) -> Batch:
    """Task r has rows of pattern r, five of different lengths."""
    examples = [
        row(task, 1 + (number * 3) % 7, pattern, 10 * task + number)
        for number in range(5)
        for task, pattern in enumerate(patterns)
    ]
    return collate(examples)


BATCHES = {
    "a shared leading prompt": ("ppwp", "pwpp"),
    "a shared anchor before the prompt": ("abpwpp",),
    "words before the prompt": ("wppp", "wapbp"),
    "some of each": ("ppwp", "wppp", "awppp"),
}


def loss_and_gradient(lm: FrozenLM, batch: Batch) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tasks = int(batch.tasks.max()) + 1
    prompts = torch.randn(tasks, SLOTS, 32, generator=generator)
    return single(lm).loss_and_gradient(batch, prompts)


def assert_same(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        scale = float(other.abs().max())
        assert scale > 1e-2
        torch.testing.assert_close(one, other, atol=RELATIVE * scale, rtol=0)


@pytest.mark.parametrize("patterns", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("shortcuts", SWITCHES.values(), ids=SWITCHES)
def test_a_llama_gives_the_same_with_each_switch(shortcuts: Shortcuts, patterns: tuple) -> None:
    batch = batch_of(*patterns)
    expected = loss_and_gradient(FrozenLM(network("llama"), shortcuts=PLAIN), batch)
    lm = FrozenLM(network("llama"), shortcuts=shortcuts).prepare()
    assert (lm.prepared is not None) == shortcuts.prepared_layers
    assert_same(loss_and_gradient(lm, batch), expected)


@pytest.mark.parametrize("family", PACKED)
def test_every_family_that_is_packed_gives_what_it_gives_row_by_row(family: str) -> None:
    batch = batch_of("ppwp", "wppp")
    expected = loss_and_gradient(FrozenLM(network(family), shortcuts=PLAIN), batch)
    lm = FrozenLM(network(family), shortcuts=DEFAULT).prepare()
    assert (lm.prepared is not None) == (family in PREPARED)
    assert_same(loss_and_gradient(lm, batch), expected)


@pytest.mark.parametrize("prepared", [False, True])
def test_the_other_attention_gives_the_same(prepared: bool) -> None:
    batch = batch_of("ppwp", "wppp")
    expected = loss_and_gradient(FrozenLM(network("llama"), shortcuts=PLAIN), batch)
    shortcuts = Shortcuts(prepared_layers=prepared)
    lm = FrozenLM(network("llama", attention="sdpa"), shortcuts=shortcuts).prepare()
    assert_same(loss_and_gradient(lm, batch), expected)


def test_biases_of_attention_are_in_the_prepared_layers() -> None:
    batch = batch_of("ppwp", "wppp")
    plain = FrozenLM(network("llama", attention_bias=True), shortcuts=PLAIN)
    lm = FrozenLM(network("llama", attention_bias=True)).prepare()
    assert lm.prepared is not None
    assert_same(loss_and_gradient(lm, batch), loss_and_gradient(plain, batch))


@pytest.mark.parametrize("prepared", [False, True])
def test_rotations_that_depend_on_the_length_of_a_call_are_the_plain_ones(prepared: bool) -> None:
    settings = {"max_position_embeddings": 6}
    settings["rope_parameters"] = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    batch = batch_of("wppp")
    plain = FrozenLM(network("llama", **settings), shortcuts=PLAIN)
    lm = FrozenLM(
        network("llama", **settings), shortcuts=Shortcuts(prepared_layers=prepared)
    ).prepare()
    assert_same(loss_and_gradient(lm, batch), loss_and_gradient(plain, batch))


def test_compiled_layers_give_the_same_for_batches_of_any_shape() -> None:
    counters.clear()
    plain = FrozenLM(network("llama"), shortcuts=PLAIN)
    lm = FrozenLM(network("llama"), shortcuts=Shortcuts(compiled_layers=True)).prepare()
    batches = [batch_of("ppwp"), batch_of("ppwp", "pwp")]
    for batch in batches:
        assert_same(loss_and_gradient(lm, batch), loss_and_gradient(plain, batch))
    # Layers were compiled, and once known no shape is compiled again or given up.
    compiled = counters["stats"]["unique_graphs"]
    assert compiled >= 1
    for batch in (*batches, batch_of("ppwp", "pwp", "ppw")):
        loss_and_gradient(lm, batch)
    assert counters["stats"]["unique_graphs"] == compiled
    assert counters["frames"]["total"] == counters["frames"]["ok"]


def test_every_switch_is_off_in_the_plain_pass_and_tested_by_itself() -> None:
    waits = {"packed_weights", "compiled_layers"}  # tested below
    for field in fields(Shortcuts):
        assert getattr(PLAIN, field.name) is False
        used = {getattr(shortcuts, field.name) for shortcuts in SWITCHES.values()}
        assert len(used) == (1 if field.name in waits else 2)


def test_logits_are_computed_where_the_switch_says() -> None:
    batch = batch_of("ppwp", "wppp")
    seen: dict[str, int] = {}
    for at_targets in (True, False):
        for default in (PLAIN, DEFAULT):
            shortcuts = replace(default, head_at_targets=at_targets)
            lm = FrozenLM(network("llama"), shortcuts=shortcuts).prepare()
            head = lm.model.get_output_embeddings()
            head.register_forward_hook(lambda _, __, out: seen.update(rows=out[..., 0].numel()))
            lm(batch, torch.randn(2, SLOTS, 32))
            assert (seen["rows"] == len(batch)) == at_targets
            assert (seen["rows"] > len(batch)) != at_targets


@pytest.mark.parametrize("one_pass", [False, True])
def test_the_word_embedding_is_given_prompts_or_words_alone(one_pass: bool) -> None:
    model = network("gpt2")
    weight, others = model.get_input_embeddings().weight, sum(1 for _ in model.parameters())
    lm = FrozenLM(model, shortcuts=Shortcuts(fused_splice=one_pass))
    embedding = model.get_input_embeddings()
    given = []
    embedding.register_forward_pre_hook(lambda _, arguments: given.append(len(arguments)))
    loss_and_gradient(lm, batch_of("ppwp"))
    assert given == [4 if one_pass else 1]
    assert embedding.weight is weight is model.get_output_embeddings().weight
    assert sum(1 for _ in model.parameters()) == others


def test_several_targets_of_a_row_are_read_from_lines() -> None:
    examples = [row(0, words, "awb", words) for words in (1, 4, 2)]
    examples = [
        Example(0, e.ids, e.slots, (len(e.ids) - 2, len(e.ids) - 1), (1, 1)) for e in examples
    ]
    batch, nothing = collate(examples), torch.zeros(1, 0, 32)
    plain = FrozenLM(network("llama"), shortcuts=PLAIN)
    lm = FrozenLM(network("llama")).prepare()
    with torch.no_grad():
        torch.testing.assert_close(lm(batch, nothing), plain(batch, nothing), atol=1e-5, rtol=1e-5)


def test_options_that_share_their_record_compute_what_each_computes_alone() -> None:
    examples = []
    for record, pattern in enumerate(("ppwp", "wppw")):
        begun = row(0, 6, pattern, record)
        examples += [
            replace(
                begun,
                ids=(*begun.ids, *option),
                slots=(*begun.slots, *[-1] * len(option)),
                targets=tuple(range(len(begun.ids) - 1, len(begun.ids) + len(option) - 1)),
                answers=option,
            )
            for option in ((7,), (8, 9, 10), (7, 11))
        ]
    batch = collate(examples, group_size=3)
    assert [e.question for e in batch.examples] == [0, 0, 0, 1, 1, 1]
    for name in ("llama", "gpt2"):
        plain = loss_and_gradient(FrozenLM(network(name), shortcuts=PLAIN), batch)
        assert_same(loss_and_gradient(FrozenLM(network(name)).prepare(), batch), plain)


def test_preparing_keeps_every_byte_and_holds_nothing_twice() -> None:
    model = network("llama")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lm = FrozenLM(model).prepare()
    loss_and_gradient(lm, batch_of("ppwp", "wppp"))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None and not parameter.requires_grad
    storages = {p.untyped_storage().data_ptr(): p.untyped_storage() for p in model.parameters()}
    held = sum(storage.nbytes() for storage in storages.values())
    assert held == sum(p.nbytes for p in model.parameters())
    assert not list(lm.prepared.parameters())


def test_rows_longer_than_a_sliding_window_are_not_packed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = network("mistral")
    model.config.sliding_window = 4
    batch = batch_of("ppwp")
    expected = loss_and_gradient(FrozenLM(model, shortcuts=PLAIN), batch)
    monkeypatch.setattr("ptune_scale.backbone.frozen.pack", None)  # calling it would fail
    assert_same(loss_and_gradient(FrozenLM(model).prepare(), batch), expected)


@pytest.mark.parametrize("make", [lambda: torch.randn(5, 64), lambda: torch.randn(4, 3, 64)])
def test_packed_weights_give_the_products_of_plain_ones(make: Callable[[], Tensor]) -> None:
    from ptune_scale.backbone.packed_linear import can_pack, linear, pack_weight

    weight, bias = torch.randn(48, 64).bfloat16(), torch.randn(48).bfloat16()
    if not can_pack(weight):
        pytest.skip("this CPU has no bf16 products of oneDNN")
    results = []
    x = make().bfloat16()
    for packed in (None, pack_weight(weight)):
        leaf = x.clone().requires_grad_()
        result = linear(leaf, weight, bias, packed)
        result.float().square().sum().backward()
        results.append((result.detach().float(), leaf.grad.float()))
    for plain, found in zip(*results, strict=True):
        # Sums in another order, rounded to 8 bits.
        torch.testing.assert_close(found, plain, atol=2e-2 * float(plain.abs().max()), rtol=0)
