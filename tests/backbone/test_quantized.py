"""Frozen weights in 8 and 4 bits: exactly the model with rounded weights, in less memory."""

import copy
import json
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from ptune_scale.backbone import FrozenLM, load_backbone
from ptune_scale.backbone.prepared import can_prepare
from ptune_scale.backbone.quantized import quantize
from ptune_scale.backbone.quantized_linear import QuantizedLinear, load_library, quantize_linear
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees, Mesh, World, parallelize, single
from ptune_scale.run.check import check_layout, check_parts, open_backbone
from ptune_scale.run.config import ModelConfig, ParallelConfig
from ptune_scale.task.example import NO_SLOT, Batch, Example, collate
from ptune_scale.tune import launcher
from tests.forked import run_ranks

VOCABULARY, SLOTS = 65, 4

needs_library = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
both = pytest.mark.parametrize("bits", ["8", "4"])


def make(family: str) -> PreTrainedModel:
    """A random model; rows of its matrices are not whole blocks of 64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if family == "gpt2":
            sizes = {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64}
            config = GPT2Config(vocab_size=VOCABULARY, **sizes, initializer_range=0.1)
            return GPT2LMHeadModel(config).eval()
        sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
        sizes |= {"vocab_size": VOCABULARY, "intermediate_size": 96, "initializer_range": 0.1}
        if family == "bert":
            return BertForMaskedLM(BertConfig(**sizes)).eval()
        return LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2)).eval()


def batch() -> Batch:
    """Facts of different lengths, prompted before and after the subject."""
    examples = []
    for fact in range(6):
        subject = [3 + (7 * fact + place) % 60 for place in range(1 + fact % 3)]
        ids = (0, 0, *subject, 0, 0, 1)
        slots = (0, 1, *[NO_SLOT] * len(subject), 2, 3, NO_SLOT)
        examples.append(Example(0, ids, slots, (len(ids) - 2,), (5 + fact,)))
    return collate(examples)


def prompts(size: int) -> Tensor:
    return 0.2 * torch.randn(1, SLOTS, size, generator=torch.Generator().manual_seed(1))


def gradient(model: PreTrainedModel) -> Tensor:
    """dP, (1, S, H), after a pass without gradients, as evaluation makes one."""
    function, rows = single(FrozenLM(model)), batch()
    start = prompts(model.get_input_embeddings().embedding_dim)
    function.top(rows, start, k=1)
    return function.loss_and_gradient(rows, start)[1]


def with_rounded_weights(model: PreTrainedModel, quantized: PreTrainedModel) -> PreTrainedModel:
    """The model with its own layers, which hold what those of ``quantized`` compute with."""
    rounded = copy.deepcopy(model)
    for path, layer in quantized.named_modules():
        if isinstance(layer, QuantizedLinear):
            weight = layer.rounded(torch.float32)
            plain = rounded.get_submodule(path)
            plain.weight.data = weight.T.contiguous() if type(plain) is Conv1D else weight
    return rounded


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@needs_library
@both
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_gradient_is_that_of_plain_layers_with_the_rounded_weights(family, bits):
    model = make(family)
    quantized = copy.deepcopy(model)
    quantize(quantized, bits)
    found, full = gradient(quantized), gradient(copy.deepcopy(model))
    assert distance(found, gradient(with_rounded_weights(model, quantized))) < 1e-5
    assert distance(found, full) > 1e-4, "nothing was rounded"


@needs_library
@pytest.mark.parametrize(("bits", "least"), [("8", 0.99), ("4", 0.85)])
def test_gradient_points_where_that_of_the_full_weights_does(bits, least):
    model = make("llama")
    full = gradient(copy.deepcopy(model))
    quantize(model, bits)
    assert torch.cosine_similarity(gradient(model).flatten(), full.flatten(), dim=0) > least


@needs_library
@pytest.mark.parametrize(("bits", "most"), [("8", 0.01), ("4", 0.12)])
@pytest.mark.parametrize("shape", [(3, 7), (64, 48), (32, 96), (16, 160), (48, 192)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounded_weights_are_close_whatever_the_length_of_a_row(dtype, shape, most, bits):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    rounded = quantize_linear(weight, None, bits).rounded(dtype)
    assert rounded.dtype == dtype and rounded.shape == shape
    assert 0 < distance(rounded.float(), weight.float()) < most


@needs_library
@pytest.mark.parametrize(("bits", "share"), [("8", 0.3), ("4", 0.18)])
def test_layers_are_smaller_and_nothing_trains(bits, share):
    model = make("llama")
    layers = model.model.layers
    before, kept = held(layers), {id(p) for n, p in model.named_parameters() if "layers" not in n}
    quantize(model, bits)
    assert held(layers) < share * before
    linears = [module for module in layers.modules() if isinstance(module, QuantizedLinear)]
    assert len(linears) == 3 * 7 and not any(type(m) is nn.Linear for m in layers.modules())
    assert {id(p) for n, p in model.named_parameters() if "layers" not in n} == kept
    assert not any(p.requires_grad for p in FrozenLM(model).parameters())
    assert not can_prepare(model)


def held(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@needs_library
def test_a_matrix_that_would_be_left_out_is_refused_before_anything_is_replaced():
    model = make("llama")
    model.model.layers[2].mlp.extra = nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(UserError, match=r"has a matrix 'extra' in its layers \(2\.mlp"):
        quantize(model, "8")
    assert not any(isinstance(module, QuantizedLinear) for module in model.modules())


def check(bits: str, model: str, **layout: int) -> None:
    config = ModelConfig(model=model, dtype="float32", weight_bits=bits)
    degrees = check_layout(config, ParallelConfig(**layout), tunes_backbone=False, method="ptuning")
    check_parts(open_backbone(config), degrees)


@needs_library
@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ({"zero_stage": 3}, "zero3"),
        ({"tensor_parallel": 2}, "tp2"),
        ({"pipeline_parallel": 2}, "pp2"),
    ],
)
def test_layouts_that_part_the_weights_are_refused(layout, name, tiny_gpt2):
    with pytest.raises(UserError, match=rf"--weight_bits 8 with layout {name}: .*--zero_stage 0"):
        check("8", str(tiny_gpt2), num_gpus=2, **layout)
    backbone = load_backbone(str(tiny_gpt2), weight_bits="8")
    degrees = Degrees.resolve(
        2,
        tensor=layout.get("tensor_parallel", 1),
        pipeline=layout.get("pipeline_parallel", 1),
        zero_stage=layout.get("zero_stage", -1),
    )
    mesh = Mesh(World(0, 2), degrees, *degrees.coordinates(0), None)
    with pytest.raises(UserError, match=rf"--weight_bits 8 in layout {name}: .*--zero_stage 0"):
        parallelize(backbone, mesh)


@needs_library
def test_replicas_are_not_refused(tiny_gpt2):
    check("4", str(tiny_gpt2), num_gpus=2, zero_stage=0)


def test_a_missing_library_is_told_before_the_model_is_looked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    load_library.cache_clear()
    with pytest.raises(UserError, match="pip install bitsandbytes") as refused:
        check("8", "nowhere")
    assert "\n" not in str(refused.value)


@needs_library
def test_bits_do_not_belong_to_a_model_s_identity(tiny_gpt2):
    full, eight = (load_backbone(str(tiny_gpt2), weight_bits=bits) for bits in ("full", "8"))
    assert eight.fingerprint == full.fingerprint


@needs_library
@pytest.mark.parametrize(("bits", "ranks"), [("8", 1), ("4", 2)])
def test_a_run_from_the_command_line(bits, ranks, tiny_gpt2, tmp_path):
    records = [{"country": "Norway", "city": "Oslo"}, {"country": "France", "city": "Paris"}] * 6
    facts = tmp_path / "facts.jsonl"
    facts.write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "cities.txt").write_text("Oslo\nParis\nBerlin")
    typed = [
        *("--model", str(tiny_gpt2), "--weight_bits", bits, "--output_dir", str(tmp_path / "out")),
        *("--train", str(facts), "--dev", str(facts), "--test", str(facts), "--answer", "city"),
        *("--pattern", "[P]*2 {country} [P]*2 [Y]", "--candidates", str(tmp_path / "cities.txt")),
        *(
            "--method",
            "ptuning",
            "--max_steps",
            "30",
            "--batch_size",
            "8",
            "--lr",
            "1e-2",
            "--warmup",
            "0",
        ),
    ]
    typed += ["--num_gpus", str(ranks), "--zero_stage", "0"]
    assert "kernel" not in run_ranks(ranks, tmp_path, launcher.main, typed)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    losses = results["methods"]["ptuning"]["training"]["losses"]
    assert len(losses) == 30 and sum(losses[-5:]) < sum(losses[:5])
