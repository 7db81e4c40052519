"""Small models of the families that layouts know, and how to run a layout of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    BertConfig,
    BertForMaskedLM,
    BloomConfig,
    BloomForCausalLM,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ptune_scale.backbone.megatron import MegatronConfig, MegatronForCausalLM
from ptune_scale.parallel import Degrees, World
from ptune_scale.plan import LayoutPlan, Planner, Request
from tests.forked import run_ranks
from tests.parallel import layout_worker

VOCABULARY = 65
"""Not a multiple of two: vocabulary shards are padded."""


def _network(family: str) -> torch.nn.Module:
    if family == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64}
        return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **sizes, initializer_range=0.2))
    if family == "bloom":
        sizes = {"hidden_size": 32, "n_layer": 4, "n_head": 4, "initializer_range": 0.2}
        return BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, **sizes))
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    sizes |= {"vocab_size": VOCABULARY, "intermediate_size": 48, "initializer_range": 0.2}
    if family == "bert":
        return BertForMaskedLM(BertConfig(**sizes))
    if family == "megatron":
        return MegatronForCausalLM(MegatronConfig(**sizes))
    if family == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**sizes, num_key_value_heads=2, head_dim=8))
    if family == "gemma4":
        alike = {"layer_types": ["full_attention"] * 4, "hidden_size_per_layer_input": 0}
        heads = {"num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8}
        model = Gemma4ForCausalLM(Gemma4TextConfig(**sizes, **alike, **heads))
        for layer in model.model.layers:
            layer.layer_scalar.uniform_(0.5, 1.5)
        return model
    tied = family.startswith("llama") and family != "llama_untied"
    return LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2, tie_word_embeddings=tied))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of a random model with four layers, by family; "_bin": not as safetensors."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            directory = made[family] = tmp_path_factory.mktemp(family)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network = _network(family)
                network.save_pretrained(directory)
            if family.endswith("_bin"):
                (directory / "model.safetensors").unlink()
                torch.save(network.state_dict(), directory / "pytorch_model.bin")
            words = {chr(97 + i % 26) * (1 + i // 26): i for i in range(VOCABULARY)}
            tokenizer = Tokenizer(models.WordLevel(words, unk_token="a"))
            tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
            PreTrainedTokenizerFast(
                tokenizer_object=tokenizer, unk_token="a", mask_token="b"
            ).save_pretrained(directory)
        return made[family]

    return make


@pytest.fixture(scope="session")
def run_layouts(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """Run several layouts of a model one after another, on so many ranks.

    A single rank is this process. What has run once is not run again.
    """
    done: dict[tuple[Path, int, str], dict[str, Any]] = {}

    def run(model: Path, ranks: int, layouts: list[str]) -> list[dict[str, Any]]:
        new = [layout for layout in layouts if (model, ranks, layout) not in done]
        if new and ranks == 1:
            for layout in new:
                done[model, 1, layout] = layout_worker.run_layout(str(model), layout, World())
        elif new:
            output = tmp_path_factory.mktemp("layout")
            run_ranks(ranks, output, layout_worker.main, str(model), output, new)
            for layout in new:
                result = torch.load(output / f"{layout}.pt", weights_only=True)
                done[model, ranks, layout] = result
        return [done[model, ranks, layout] for layout in layouts]

    return run


@pytest.fixture(scope="session")
def plan_layout() -> Callable[..., LayoutPlan]:
    """Plan a layout TENSOR-PIPELINE-ZERO_STAGE of a model without its ranks."""

    def plan(model: Path, ranks: int, layout: str, **values: Any) -> LayoutPlan:
        config = AutoConfig.from_pretrained(model)
        request = Request(
            name="small", config=config, dtype=torch.float32, num_gpus=ranks, **values
        )
        tensor, pipeline, zero_stage = map(int, layout.split("-"))
        degrees = Degrees.resolve(ranks, tensor=tensor, pipeline=pipeline, zero_stage=zero_stage)
        return Planner(request).plan(degrees)

    return plan
