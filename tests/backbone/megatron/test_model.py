"""The architecture against a second implementation, written from its description."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ptune_scale.backbone import FrozenLM
from ptune_scale.backbone.megatron import MegatronConfig, MegatronForCausalLM, load_megatron
from ptune_scale.task.example import collate
from ptune_scale.task.tokenization import Tokenization

HEADS, SIZE, LAYERS = 8, 48, 2
IDS = torch.tensor([[5, 9, 300, 7, 44], [4, 4, 100, 8, 2]])


@pytest.fixture(scope="module")
def weights(tiny_megatron) -> dict[str, Tensor]:  # noqa: ANN001
    return {name: tensor.double() for name, tensor in tiny_megatron.weights.items()}


@pytest.fixture
def model(tiny_megatron) -> MegatronForCausalLM:  # noqa: ANN001
    return load_megatron(tiny_megatron.directory, torch.float32)[0].requires_grad_(False)


def reference(weights: dict[str, Tensor], embedded: Tensor) -> Tensor:
    """Logits (T, V) of one row of embeddings (T, D), in float64, one head and query at a time."""

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    length = len(embedded)
    x = embedded.double() * math.sqrt(SIZE)
    for t in range(length):
        # The first token uses row 2: row 0 is unused, row 1 is padding's.
        angles = [(t + 2) * math.exp(-i * math.log(10000) / (SIZE // 2 - 1)) for i in range(24)]
        row = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        x[t] += torch.tensor(row, dtype=torch.float64)
    for index in range(LAYERS):
        layer = f"model.layers.{index}"
        y = norm(x, f"{layer}.self_attn_layer_norm")
        q = linear(y, f"{layer}.self_attn.q_proj") * (SIZE // HEADS) ** -0.5
        k, v = linear(y, f"{layer}.self_attn.k_proj"), linear(y, f"{layer}.self_attn.v_proj")
        mixed = torch.zeros_like(x)
        for head in range(HEADS):
            at = slice(head * 6, head * 6 + 6)
            for t in range(length):
                attention = (k[: t + 1, at] @ q[t, at]).softmax(0)
                mixed[t, at] = attention @ v[: t + 1, at]
        x = x + linear(mixed, f"{layer}.self_attn.out_proj")
        y = linear(norm(x, f"{layer}.final_layer_norm"), f"{layer}.fc1")
        y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
        x = x + linear(y, f"{layer}.fc2")
    return norm(x, "model.layer_norm") @ weights["model.embed_tokens.weight"].T


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_logits_equal_the_description_of_the_architecture(
    tiny_megatron,  # noqa: ANN001
    weights: dict[str, Tensor],
    attention: str,
) -> None:
    model, _ = load_megatron(tiny_megatron.directory, torch.float32, attention)
    with torch.no_grad():
        logits = model(IDS).logits
    for row, ids in enumerate(IDS):
        expected = reference(weights, weights["model.embed_tokens.weight"][ids])
        torch.testing.assert_close(logits[row].double(), expected, atol=1e-5, rtol=1e-5)


def test_embeddings_given_instead_of_ids_are_scaled_and_placed_alike(
    model: MegatronForCausalLM, weights: dict[str, Tensor]
) -> None:
    embedded = torch.randn(1, 6, SIZE, generator=torch.Generator().manual_seed(1))
    logits = model(inputs_embeds=embedded, use_cache=False).logits[0]
    expected = reference(weights, embedded[0])
    torch.testing.assert_close(logits.double(), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="exactly one"):
        model(IDS, inputs_embeds=embedded)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("left", [True, False])
def test_padding_changes_nothing_for_the_words(
    tiny_megatron,  # noqa: ANN001
    left: bool,
    attention: str,
) -> None:
    model, _ = load_megatron(tiny_megatron.directory, torch.float32, attention)
    ids, mask, pad = IDS[:1], torch.ones(1, 5), torch.ones(1, 3)
    order = (pad, mask) if left else (mask, pad)
    padded = torch.cat([pad.long(), ids] if left else [ids, pad.long()], dim=1)
    mask = torch.cat([order[0] * (not left), order[1] * left], dim=1)
    with torch.no_grad():
        logits = model(padded, attention_mask=mask).logits
        expected = model(ids).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[:, 3:] if left else logits[:, :5], expected)


def test_gradients_reach_the_input_embeddings_and_no_parameter(model: MegatronForCausalLM) -> None:
    embedded = torch.randn(2, 5, SIZE).requires_grad_()
    model(inputs_embeds=embedded).logits[:, -1].square().mean().backward()
    assert (embedded.grad.abs().sum(-1) > 0).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_half_precision_rounds_weights_but_not_positions(
    tiny_megatron,  # noqa: ANN001
    model: MegatronForCausalLM,
) -> None:
    half, _ = load_megatron(tiny_megatron.directory, torch.bfloat16)
    zeros = torch.zeros(1, 60, SIZE)
    exact = model.model.embed_positions(zeros)
    assert torch.equal(half.model.embed_positions(zeros.bfloat16()), exact.bfloat16())
    assert torch.equal(half.model.embed_positions(zeros), exact)


def test_head_and_embeddings_are_one_tensor(model: MegatronForCausalLM) -> None:
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert len(list(model.parameters())) == len(dict(model.named_parameters()))


def test_stages_cut_out_of_the_model_compute_what_the_whole_does(
    tiny_megatron,  # noqa: ANN001
    model: MegatronForCausalLM,
) -> None:
    first = load_megatron(tiny_megatron.directory, torch.float32)[0].model
    first.layers = first.layers[:1]
    first.layer_norm = nn.Identity()
    second = load_megatron(tiny_megatron.directory, torch.float32)[0].model
    second.layers = second.layers[1:]
    second.embed_tokens = second.embed_positions = nn.Identity()
    with torch.no_grad():
        hidden = first(inputs_embeds=model.model.embed_tokens(IDS)).last_hidden_state
        torch.testing.assert_close(
            second(inputs_embeds=hidden).last_hidden_state, model.model(IDS).last_hidden_state
        )


def test_columns_of_one_rank_are_its_own_heads(model: MegatronForCausalLM) -> None:
    """Each half of the columns and rows computes four heads; the halves add up to the whole."""
    attention = model.model.layers[0].self_attn
    hidden = torch.randn(1, 4, SIZE)
    visible = torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
    whole = attention(hidden, visible)
    total = attention.out_proj.bias.clone().expand_as(whole).clone()
    state = {name: tensor.clone() for name, tensor in attention.state_dict().items()}
    for part in range(2):
        for name in ("q_proj", "k_proj", "v_proj"):
            module = getattr(attention, name)
            module.weight = nn.Parameter(state[f"{name}.weight"].chunk(2)[part])
            module.bias = nn.Parameter(state[f"{name}.bias"].chunk(2)[part])
        attention.out_proj.weight = nn.Parameter(state["out_proj.weight"].chunk(2, dim=1)[part])
        attention.out_proj.bias = None
        total += attention(hidden, visible).detach()
    torch.testing.assert_close(total, whole, atol=1e-5, rtol=1e-5)


def test_it_serves_as_a_frozen_backbone(tiny_megatron, fill) -> None:  # noqa: ANN001
    model, tokenizer = load_megatron(tiny_megatron.directory, torch.float32)
    lm, tokens = FrozenLM(model), Tokenization(tokenizer, "causal")
    example = fill("(2, sub, 2, obj)", "Norway", tokens)
    prompts = torch.randn(1, 4, SIZE).requires_grad_()
    logits = lm(collate([example, example]), prompts)
    assert logits.shape == (2, 1, model.config.vocab_size)
    logits.square().mean().backward()
    assert prompts.grad.abs().sum() > 0
    spliced = model.model.embed_tokens(torch.tensor([example.ids])).clone()
    spliced[0, torch.tensor(example.slots) >= 0] = prompts[0].detach()
    expected = model(inputs_embeds=spliced).logits[0, example.targets[0]]
    torch.testing.assert_close(logits[0, 0], expected, atol=1e-5, rtol=1e-5)


def test_a_saved_model_loads_through_hugging_face(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    config = MegatronConfig(
        vocab_size=16,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    model = MegatronForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is MegatronForCausalLM
    ids = torch.tensor([[4, 5, 6]])
    assert torch.equal(again(ids).logits, model(ids).logits)
