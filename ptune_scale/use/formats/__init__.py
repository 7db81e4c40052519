"""What other software takes: a tuned prompt written in its format, and read back by it.

format.py      what a format is, and what all of them need of a prompt
compare.py     answers by other software beside our own
peft_rows.py   PEFT, prompts in front of everything
added_tokens.py  slots as tokens of the vocabulary: PEFT's trainable tokens, or a whole checkpoint
linked.py      a checkpoint that shares the files of another
gguf_file.py   the same for llama.cpp, of a model that is a GGUF file
vllm.py        requests for vLLM with the embeddings in them
npy.py         the vectors alone
"""

from typing import TYPE_CHECKING

from ptune_scale.lazy import Registry

if TYPE_CHECKING:
    from ptune_scale.use.formats.format import Format

FORMATS: "Registry[Format]" = Registry(
    __name__,
    {
        "peft": "peft_rows.PEFT",
        "tokens": "added_tokens.TOKENS",
        "model": "added_tokens.MODEL",
        "gguf": "gguf_file.GGUF",
        "vllm": "vllm.VLLM",
        "npy": "npy.NPY",
    },
)
"""Every format by the name that ``--to`` takes."""
