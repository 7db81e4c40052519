"""Opens a frozen backbone: identity, tokenizer, shapes; weights are loaded as they are needed."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from ptune_scale.backbone import gguf
from ptune_scale.backbone.embeddings import WordEmbeddings
from ptune_scale.backbone.fingerprint import fingerprint_files, weight_files
from ptune_scale.backbone.fit import (
    advice_on_head,
    check_config,
    check_directory,
    check_tokenizer,
    check_unread,
    num_logits,
    quantized_by,
)
from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.megatron import MegatronShardSource, build_tokenizer, load_megatron
from ptune_scale.backbone.network import (
    auto_class,
    empty_model,
    model_kind,
    parameter_name,
    sample_model,
    stored_names,
)
from ptune_scale.backbone.options import WeightBits
from ptune_scale.backbone.quantized import quantize
from ptune_scale.backbone.shortcuts import DEFAULT, Shortcuts
from ptune_scale.backbone.source import SMALL_FILES, ModelSource, download, find_model
from ptune_scale.backbone.tokenizer import load_tokenizer
from ptune_scale.backbone.weights import CannotSlice, SafetensorsSource, WeightSource
from ptune_scale.errors import UserError
from ptune_scale.reading import one_line
from ptune_scale.task.pattern import Kind
from ptune_scale.task.tokenization import Tokenization


class Backbone:
    """A frozen model: what the rest of the system needs to know of it, and ways to its weights.

    Opening it reads configuration and tokenizer only. ``lm`` loads the whole model; layouts that
    give each rank a part build ``empty_model`` and fill it from ``weights``.

    Args:
        source: a model that was found.
        dtype: of the weights once they are loaded.
        attention: Hugging Face attention implementation.
        shortcuts: what its forward pass need not compute.
        weight_bits: of the weights of ``lm``'s layers; "full" as many as dtype has.
        dropout: run the model's own dropout in passes with a gradient.

    Attributes:
        name: what the user called the model.
        config: the model's configuration.
        tokens: its tokenizer.
        fingerprint: identity of the weight files, independent of dtype, bits and layout.
        unread: a line that names weights that the model has no place for, once it is known.

    Raises:
        UserError: the model is not there, damaged, or neither causal nor masked.
    """

    def __init__(
        self,
        source: ModelSource,
        dtype: torch.dtype,
        attention: str,
        shortcuts: Shortcuts = DEFAULT,
        weight_bits: WeightBits = "full",
        dropout: bool = False,
    ) -> None:
        self.name = source.name
        self.dtype = dtype
        self.attention = attention
        self.shortcuts = shortcuts
        self.weight_bits = weight_bits
        self.dropout = dropout
        path = source.path
        self._where = str(path or source.name)
        if path is not None and source.is_gguf:
            self._where = str(gguf.converted_directory(path, dtype))
        self.unread: str | None = None
        self._shards: MegatronShardSource | None = None
        self.config: PretrainedConfig
        if path is not None and source.is_megatron:
            self._shards = MegatronShardSource(path)
            self.config = self._shards.config
            self.tokens = Tokenization(build_tokenizer(path), "causal", self.config.vocab_size)
        else:
            try:
                check_directory(Path(self._where))
                self.config = AutoConfig.from_pretrained(self._where, trust_remote_code=False)
                kind = model_kind(self.config)
                check_config(self.config, kind)
                tokenizer = load_tokenizer(self._where, self.config)
                self.tokens = Tokenization(tokenizer, kind, num_logits(self._shapes))
                check_tokenizer(self.tokens)
            except Exception as error:  # each family reads its files in its own way
                raise self._cannot_load(error) from error
        weights = path if path is not None else self._directory
        self.fingerprint = fingerprint_files(weight_files(weights))

    def _cannot_load(self, error: Exception) -> UserError:
        """What is wrong in one line; what is no sentence is named by its kind too."""
        said, whole = one_line(error), str(error)
        if isinstance(error, KeyError):
            said = f"{said} is no value that transformers knows for what config.json says so"
        elif not isinstance(error, UserError | OSError) and type(error) is not ValueError:
            said = f"{type(error).__name__}: {said}"
        if "instantiate the backend tokenizer" in whole:
            said = "it has no tokenizer: add tokenizer.json, or the files it is made from"
        if "does not support an attention implementation" in whole:
            said = f"it has no {self.attention} attention; use eager"
        if "trust_remote_code" in whole or "custom code" in whole:
            said = "its architecture is code that comes with it, and such code is not run"
        return UserError(f"model {self.name}: cannot load it: {said}")

    @property
    def served_by(self) -> str:
        """Where it is, if not in this process: for a reader of results."""
        return ""

    @property
    def is_loaded(self) -> bool:
        """Whether ``lm`` is there, which stays as it is."""
        return "lm" in vars(self)

    def compute_by(self, attention: str, shortcuts: Shortcuts) -> None:
        """Let the forward pass of models that are loaded from now on be computed so."""
        self.attention, self.shortcuts = attention, shortcuts

    @property
    def kind(self) -> Kind:
        return self.tokens.kind

    @cached_property
    def lm(self) -> FrozenLM:
        """The whole model on the CPU, loaded at first use.

        Weights that are stored in ``dtype`` stay mapped from disk until something copies them.

        Raises:
            UserError: files are damaged, a weight is missing or has another shape, or the model
                cannot be had in so few bits.
        """
        network = self.load_model()
        quantize(network, self.weight_bits)
        return FrozenLM(network, shortcuts=self.shortcuts, dropout=self.dropout)

    def load_model(self) -> PreTrainedModel:
        """Another copy of the whole model on the CPU, as transformers loads it.

        Raises:
            UserError: files are damaged, or a weight is missing or has another shape.
        """
        if self._shards is not None:
            return load_megatron(self._directory, self.dtype, self.attention)[0]
        try:
            network, report = auto_class(self.kind).from_pretrained(
                self._directory,
                dtype=self.dtype,
                attn_implementation=self.attention,
                output_loading_info=True,
                trust_remote_code=False,
            )
        except SafetensorError as error:
            raise UserError(
                f"model {self.name}: a weight file is truncated or damaged ({error})"
            ) from error
        except Exception as error:  # each family, and each library that quantizes, in its own way
            if method := quantized_by(self.config):
                error = ValueError(f"its weights are quantized by {method}: {error}")
            raise self._cannot_load(error) from error
        # transformers would leave them random. Tied weights are not among them.
        missing = sorted(report["missing_keys"])
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"model {self.name}: the checkpoint has no weight named {missing[0]!r}{more}; "
                f"{type(network).__name__} cannot compute anything without"
                f"{advice_on_head(self.config, report['unexpected_keys'])}"
            )
        self.note_unread(network, report["unexpected_keys"])
        return network

    def note_unread(self, network: PreTrainedModel, unread: Iterable[str]) -> None:
        """Note the weights of the checkpoint that a model has no place for.

        Raises:
            UserError: they are layers that its configuration does not speak of.
        """
        try:
            self.unread = check_unread(network, sorted(unread))
        except ValueError as error:
            raise UserError(f"model {self.name}: {error}") from error

    def empty_model(self) -> PreTrainedModel:
        """The model with parameters on the meta device; its buffers (rotary tables) are real.

        Raises:
            UserError: nothing can be built from the configuration.
        """
        try:
            return empty_model(self.config, self.dtype, self.attention)
        except Exception as error:  # as when it is opened
            raise self._cannot_load(error) from error

    @cached_property
    def _shapes(self) -> PreTrainedModel:
        """A model without weights that has the embeddings and the head of this one."""
        return sample_model(self.config)

    @cached_property
    def weights(self) -> WeightSource:
        """The checkpoint, to be read in slices.

        Raises:
            CannotSlice: neither safetensors nor Megatron shards.
            UserError: a file is missing or damaged.
        """
        return self._shards or SafetensorsSource(self._directory)

    @cached_property
    def _directory(self) -> Path:
        directory = Path(self._where)
        if directory.is_dir():
            return directory
        try:
            return download(self._where)
        except (OSError, ValueError) as error:
            raise self._cannot_load(error) from error

    def files(self) -> dict[str, bytes]:
        """Configuration and tokenizer, by name: what a directory needs to be opened as this model.

        That weights are quantized is left out: it would ask for the library that does it.
        """
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch)
            if self._shards is not None:
                self.tokens.tokenizer.save_pretrained(directory)
            else:
                for pattern in SMALL_FILES:
                    for path in self._directory.glob(pattern):
                        if not path.name.endswith(".index.json"):
                            shutil.copy(path, directory)
            told = self.config.to_dict()
            told.pop("quantization_config", None)
            (directory / "config.json").write_text(json.dumps(told), encoding="utf-8")
            return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}

    @property
    def hidden_size(self) -> int:
        """Size H of its input embeddings (ALBERT's is smaller than its layers')."""
        return self._shapes.get_input_embeddings().embedding_dim

    @property
    def vocab_size(self) -> int:
        """Number V of logits, which may be more than the tokenizer has tokens."""
        return self.tokens.vocab_size

    @cached_property
    def embeddings(self) -> WordEmbeddings:
        """Its word embeddings.

        A checkpoint that cannot be read in slices has to be loaded for them, so they are asked for
        before a layout takes the loaded weights away.
        """
        module = self._shapes.get_input_embeddings()
        name, size = parameter_name(self._shapes, module.weight), module.num_embeddings
        # In the model's precision, as the module itself multiplies.
        scale = float(torch.as_tensor(getattr(module, "embed_scale", 1.0)).to(self.dtype))
        try:
            [stored] = stored_names(self.weights, self._shapes, (name,))
        except CannotSlice:
            weight = self.lm.model.get_input_embeddings().weight.detach().clone()
            return WordEmbeddings(size, lambda start, stop: weight[start:stop], scale)

        def read(start: int, stop: int) -> Tensor:
            return self.weights.read(stored, 0, start, stop)

        return WordEmbeddings(size, read, scale)


def load_backbone(
    model: str | ModelSource,
    *,
    dtype: torch.dtype = torch.float32,
    attention: str = "eager",
    shortcuts: Shortcuts = DEFAULT,
    weight_bits: WeightBits = "full",
    dropout: bool = False,
) -> Backbone:
    """Open a causal or masked language model, frozen and in eval mode.

    Args:
        model: "smollm2-135m", a directory, a GGUF file, a Hugging Face id, or a found source.
        attention: Hugging Face attention implementation; on a CPU "eager" was the fastest for
            short cloze sentences.
        shortcuts: what its forward pass need not compute.
        weight_bits: "8" or "4": round the weights of the layers to so many bits, by bitsandbytes;
            for whole models only, in one process or one on each rank.
        dropout: run the model's own dropout in passes with a gradient, as the published code does
            with its frozen backbones too.

    Raises:
        UserError: the model is not there, damaged, or neither causal nor masked.
    """
    source = find_model(model) if isinstance(model, str) else model
    return Backbone(source, dtype, attention, shortcuts, weight_bits, dropout)
