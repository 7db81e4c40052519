"""Frozen weights in 8 and 4 bits: exactly the model with rounded weights, in less memory."""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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

from ptune_scale import checkpoint
from ptune_scale.assemble import build_job
from ptune_scale.backbone import FrozenLM, load_backbone
from ptune_scale.backbone.prepared import can_prepare
from ptune_scale.backbone.quantized import quantize
from ptune_scale.backbone.quantized_linear import QuantizedLinear, load_library, quantize_linear
from ptune_scale.check import check
from ptune_scale.config import LamaConfig
from ptune_scale.data.batch import Batch, Example, collate
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees, Mesh, StopSignal, World, single
from ptune_scale.template import NO_SLOT

ROOT = Path(__file__).resolve().parents[2]
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
        examples.append(Example(0, ids, slots, (len(ids) - 2,), label=5 + fact))
    return collate(examples, pad=2)


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


@pytest.fixture
def flags(tiny_gpt2: Path, tiny_facts: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": str(tiny_gpt2),
        "data_dir": str(tiny_facts),
        "dtype": "float32",
        "dev_facts": 1,
        "candidates": "full_vocab",
        "output_dir": str(tmp_path / "out"),
    }


@needs_library
@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ({}, "zero3"),
        ({"tensor_parallel": 2}, "tp2"),
        ({"pipeline_parallel": 2}, "pp2"),
    ],
)
def test_layouts_that_part_the_weights_are_refused(layout, name, flags):
    config = LamaConfig.from_flags({**flags, "weight_bits": "8", "num_gpus": 2, **layout})
    with pytest.raises(UserError, match=rf"--weight_bits 8 with layout {name}: .*--zero_stage 0"):
        check(config)


@needs_library
def test_replicas_are_not_refused(flags):
    check(LamaConfig.from_flags({**flags, "weight_bits": "4", "num_gpus": 2, "zero_stage": 0}))


def test_a_missing_library_is_told_before_the_model_is_looked_for(flags, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    load_library.cache_clear()
    config = LamaConfig.from_flags({**flags, "weight_bits": "8", "model": "nowhere"})
    with pytest.raises(UserError, match="pip install bitsandbytes") as refused:
        check(config)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def build(flags) -> Callable[..., dict[str, Any]]:
    """The identity of a run with some more flags."""

    def build_with(**more: Any) -> dict[str, Any]:
        all_flags = {**flags, **more}
        config, world = LamaConfig.from_flags(all_flags), World()
        mesh = Mesh.build(world, Degrees())
        stop = StopSignal(world)
        job = build_job(config, check(config), all_flags, mesh, stop, Path("nowhere"))
        return job.identity | job.setups["ptuning"].identity

    return build_with


@needs_library
def test_bits_belong_to_a_runs_identity_and_not_to_the_models(build, flags):
    full, eight = build(), build(weight_bits="8")
    assert {key for key in full if full[key] != eight[key]} == {"weight_bits"}
    assert eight["backbone"] == load_backbone(flags["model"]).fingerprint


@needs_library
def test_a_run_from_before_there_was_a_choice_goes_on_with_full_weights(build, flags):
    identity = build()
    for name in ("weight_bits", "batch_tokens", "fold_norms", "selection", "layout", "method"):
        del identity[name]
    path = checkpoint.save(Path(flags["output_dir"]) / "checkpoint", 1, {}, identity, flags)
    build(resume_from=str(path))
    with pytest.raises(UserError, match="weight_bits was 'full', is '8'"):
        build(resume_from=str(path), weight_bits="8")


@needs_library
@pytest.mark.parametrize(
    ("bits", "layout"),
    [("8", ["--num_gpus", "1"]), ("4", ["--num_gpus", "2", "--zero_stage", "0"])],
)
def test_a_run_from_the_command_line(bits, layout, flags, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(flags.pop("model"), model)
    given = {**flags, "model": model, "weight_bits": bits, "max_steps": 30, "method": "ptuning"}
    given |= {"batch_size": 8, "lr": 1e-2, "warmup": 0}
    typed = [str(part) for name, value in given.items() for part in (f"--{name}", value)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "launchers" / "lama.py"), *typed, *layout],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "kernel" not in done.stderr
    losses = json.loads((tmp_path / "out" / "results.json").read_text())["training"]["losses"]
    assert len(losses) == 30 and sum(losses[-5:]) < sum(losses[:5])
