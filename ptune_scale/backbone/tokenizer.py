"""Loads a backbone's tokenizer, also where a SentencePiece model is all that there is of it."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    LlamaTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from ptune_scale.backbone.families import family_of

# All tokenizers that lower-case or normalize leave this as it is.
_PROBE = "in a city of the north"


def load_tokenizer(where: str, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a model directory or Hugging Face id.

    A directory without ``tokenizer.json`` may have a SentencePiece model (``spiece.model``,
    ``tokenizer.model``, ``spm.model`` ...). What transformers makes of it is compared with what
    SentencePiece itself does: it loses the space in front of a text where no
    ``tokenizer_config.json`` names a class. Such a tokenizer is read once more as Llama's.

    Raises:
        OSError, ValueError: no tokenizer, or not one that spells as its SentencePiece model does.
    """
    directory = Path(where)
    models = [] if (directory / "tokenizer.json").is_file() else sorted(directory.glob("*.model"))
    if len(models) != 1:
        return AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    for library in ("sentencepiece", "google.protobuf"):
        if importlib.util.find_spec(library) is None:
            package = library.removeprefix("google.")
            raise ValueError(f"{models[0].name} cannot be read without: pip install {package}")
    more = _beginning(directory, config)
    tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **more)
    if not _spells_like(tokenizer, models[0]):
        tokenizer = LlamaTokenizer.from_pretrained(where, **more)
        if not _spells_like(tokenizer, models[0]):
            raise ValueError(
                f"transformers does not spell as {models[0].name} does; name the right "
                "tokenizer_class in a tokenizer_config.json beside it, or add a tokenizer.json"
            )
    return tokenizer


def _beginning(directory: Path, config: PretrainedConfig) -> dict[str, Any]:
    """A SentencePiece file does not say that a token stands in front of every text.

    transformers adds it only if a tokenizer_config.json does.
    """
    path = directory / "tokenizer_config.json"
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    wanted = family_of(config).begins_texts and "add_bos_token" not in said
    return {"add_bos_token": True} if wanted else {}


def _spells_like(tokenizer: PreTrainedTokenizerBase, model: Path) -> bool:
    """Whether a tokenizer takes a plain text apart as a SentencePiece model does.

    Raises:
        ValueError: the file is no SentencePiece model.
    """
    from sentencepiece import SentencePieceProcessor

    try:
        pieces = SentencePieceProcessor(model_file=str(model)).encode(_PROBE, out_type=str)
    except RuntimeError as error:
        raise ValueError(f"{model.name} is no SentencePiece model") from error
    return tokenizer.tokenize(_PROBE) == pieces
