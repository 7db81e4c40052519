"""What is planned for: a model, the prompts that are trained, a batch and the GPUs' memory."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from ptune_scale.backbone import find_model, gguf
from ptune_scale.backbone.loading import empty_model
from ptune_scale.backbone.megatron import NAMED_CONFIGS, MegatronShardSource
from ptune_scale.backbone.source import PACKAGED_MODEL, holds_shards
from ptune_scale.errors import UserError
from ptune_scale.prompt.encoder import count_parameters
from ptune_scale.prompt.kinds import EncoderKind, EncoderPlacementKind, EncoderSharing
from ptune_scale.reading import one_line

_UNITS = {"": 1, "MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is planned for.

    Attributes:
        name: what the user called the model.
        config: the model.
        num_gpus: ranks.
        gpu_memory: bytes of each.
        tasks, slots: sizes R and S of the prompt matrix.
        batch_size: rows per step, over all ranks.
        sequence_length: tokens of each, T.
    """

    name: str
    config: PretrainedConfig
    dtype: torch.dtype = torch.bfloat16
    attention: str = "eager"
    num_gpus: int = 8
    gpu_memory: int = 80 * 10**9
    tasks: int = 41
    slots: int = 6
    encoder: EncoderKind = "lstm"
    encoder_sharing: EncoderSharing = "all"
    encoder_placement: EncoderPlacementKind = "replicated"
    batch_size: int = 32
    sequence_length: int = 16

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            UserError: names every value that cannot be, or the prompt encoder refuses the model.
        """
        counts = ("num_gpus", "tasks", "slots", "batch_size", "sequence_length")
        wrong = [f"--{n} must be 1 or more, got {v}" for n in counts if (v := getattr(self, n)) < 1]
        longest = getattr(self.config, "max_position_embeddings", None) or self.sequence_length
        if self.sequence_length > longest:
            wrong.append(f"--sequence_length {self.sequence_length}: the model takes {longest}")
        if wrong:
            raise UserError("; ".join(wrong))
        try:
            self.group_parameters  # noqa: B018
        except ValueError as error:
            raise UserError(f"--encoder {self.encoder}: {error}") from error

    def empty_model(self) -> PreTrainedModel:
        """The model on the meta device."""
        return empty_model(self.config, self.dtype, self.attention)

    @cached_property
    def parameters(self) -> int:
        """Parameters of the whole backbone."""
        return sum(parameter.numel() for parameter in self.empty_model().parameters())

    @cached_property
    def hidden_size(self) -> int:
        """Size H of the input embeddings, and so of prompt vectors."""
        return self.empty_model().get_input_embeddings().embedding_dim

    @property
    def num_groups(self) -> int:
        """Number of prompt encoders."""
        return 1 if self.encoder_sharing == "all" else self.tasks

    @property
    def group_parameters(self) -> int:
        """Trainable parameters of one encoder with the vectors of the tasks that share it."""
        slots = self.slots * self.tasks // self.num_groups
        return count_parameters(self.encoder, self.hidden_size, slots)

    @property
    def prompt_bytes(self) -> int:
        """Bytes of the prompt matrix P in fp32."""
        return 4 * self.tasks * self.slots * self.hidden_size


def find_config(name: str, dtype: torch.dtype) -> PretrainedConfig:
    """The configuration of a model; weights are not needed, but for those in GGUF files.

    Args:
        name: "megatron-11b", "smollm2-135m", a ``config.json``, a directory with one or with
            Megatron shards, a GGUF file, or a Hugging Face id.
        dtype: that a GGUF file is converted to.

    Raises:
        UserError: nothing there, or not a language model's configuration.
    """
    path = Path(name).expanduser()
    if name in NAMED_CONFIGS and not os.path.exists(path):
        return NAMED_CONFIGS[name]
    if os.path.isdir(path) and holds_shards(path):
        return MegatronShardSource(path).config
    where = path if os.path.exists(path) else name
    bare = path.suffix == ".json"
    if bare and not os.path.isfile(path):
        raise UserError(f"model {name}: no such file")
    if name == PACKAGED_MODEL or not (bare or os.path.isfile(path / "config.json")):
        source = find_model(name)
        where = source.path or name
        if source.path is not None and source.is_gguf:
            where = gguf.converted_directory(source.path, dtype)
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
        empty_model(config, dtype)
    except Exception as error:  # each of its many configurations has errors of its own
        raise UserError(f"model {name}: no usable configuration: {one_line(error)}") from error
    return config


def parse_bytes(text: str) -> int:
    """Bytes from "80GB" or "79.6GiB".

    Raises:
        UserError: not a size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG]I?B)?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if size < 1:
        raise UserError(
            f"--gpu_memory {text!r}: write a number with MB, GB, MiB or GiB, as in 80GB"
        )
    return size
