"""Inputs as they should be, small: what the campaigns damage."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import LlamaForCausalLM

from ptune_scale.backbone.megatron.config import MegatronConfig
from ptune_scale.backbone.megatron.convert import to_shards
from ptune_scale.backbone.megatron.model import MegatronForCausalLM
from tests.tiny import byte_pairs, save_llama

WORDS = (
    "the of is in capital Norway Oslo Sweden Stockholm France Paris Germany Berlin Europe Asia "
    "Question Answer Yes No Maybe true false True False neither north south cat dog sat ran he"
)
CAPITALS = {"Norway": "Oslo", "Sweden": "Stockholm", "France": "Paris", "Germany": "Berlin"}

TASK = """name = "where"
label = "Where"
pattern = "{place...} [P]*2 is [Y]"
manual = ["{place} is [Y]"]
max_length = 24
metrics = ["accuracy"]
select_on = ["accuracy"]
[data]
train = "train.jsonl"
dev = "dev.csv"
test = 0.2
on_bad_record = "stop"
[answer]
field = "label"
words = { north = "Oslo", south = ["Rome", "Paris"] }
[columns]
place = "place"
"""

CONFIG = """dtype = "float32"
lr = 0.01
max_steps = 2
seed = 3
[data]
data_dir = "embedded"
relations = "capital"
[run]
checkpoint_every = 5
"""


def lines(path: Path, rows: Iterable[Any]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def model(directory: Path, *, shards: bool = False) -> Path:
    """A causal model, in two weight files with an index if asked for."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "positions": 512}
    save_llama(byte_pairs(WORDS), directory, **sizes)
    if shards:
        network = LlamaForCausalLM.from_pretrained(directory)
        (directory / "model.safetensors").unlink()
        network.save_pretrained(directory, max_shard_size="40KB")
    return directory


def megatron(directory: Path) -> Path:
    """fairseq's shards of a small model, with its vocabulary."""
    whole = directory.with_name("whole_megatron")
    whole.mkdir(parents=True)
    state = json.loads(byte_pairs(WORDS).backend_tokenizer.to_str())["model"]
    (whole / "encoder.json").write_text(json.dumps(state["vocab"]))
    merges = [m if isinstance(m, str) else " ".join(m) for m in state["merges"]]
    (whole / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges, ""]))
    count = len(state["vocab"])
    filler = [f"madeupword{n:04d} 0" for n in range(-(count + 4) % 8)]
    (whole / "dict.txt").write_text("\n".join([*(f"{i} 9" for i in range(count)), *filler, ""]))
    config = MegatronConfig(
        architectures=["MegatronForCausalLM"],
        vocab_size=count + 4 + len(filler),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    MegatronForCausalLM(config).half().save_pretrained(whole)
    to_shards(whole, directory, num_shards=2, shown=False)
    return directory


def facts(directory: Path, *, published: bool = False) -> Path:
    """Two relations in a layout of LAMA, with LPAQA's prompts."""
    directory.mkdir(parents=True, exist_ok=True)
    prompt = "the capital of [X] is [Y] ."
    described = [
        {"relation": name, "template": prompt, "label": name.lower()} for name in ("P36", "P30")
    ]
    lines(directory / "relations.jsonl", described)
    for number, relation in enumerate(("P36", "P30")):
        for part, prefix in (("train", ""), ("dev", "a "), ("test", "the ")):
            place = directory / part / f"{relation}.jsonl"
            if published:
                place = directory / "fact-retrieval" / "original" / relation / f"{part}.jsonl"
            rows = [
                {"sub_label": prefix + subject, "obj_label": object_, "uuid": number}
                for subject, object_ in CAPITALS.items()
            ]
            lines(place, rows)
        for kind in ("mine", "paraphrase"):
            rows = [{"template": f"[X] {word} [Y]", "weight": 0.5} for word in ("is", "in")]
            lines(directory / "prompts" / "lpaqa" / kind / f"{relation}.jsonl", rows)
    words = sorted({*CAPITALS.values(), "Europe"})
    if published:
        vocabulary = {"bert": words, "gpt2-xl": [f"Ġ{word}" for word in words]}
        (directory / "29k-vocab.json").write_text(json.dumps(vocabulary))
    else:
        (directory / "common_vocab_cased.txt").write_text("\n".join(words))
    return directory


def superglue(directory: Path) -> Path:
    """Eight records a split of all tasks."""
    for task, make in _SUPERGLUE.items():
        for split in ("train", "dev32", "val", "unlabeled"):
            lines(directory / task / f"{split}.jsonl", [make(i) for i in range(8)])
    return directory


def own(directory: Path) -> Path:
    """A user's records in every format, a task file and a list of candidates."""
    rows = [
        {"id": f"r{i}", "place": f"{place} {i}", "label": ("north", "south")[i % 2], "more": [i]}
        for i, place in enumerate([*CAPITALS] * 4)
    ]
    lines(directory / "train.jsonl", rows)
    (directory / "train.json").write_text(json.dumps({"data": rows}))
    flat = [{"id": row["id"], "place": row["place"], "label": row["label"]} for row in rows]
    _delimited(directory / "dev.csv", flat, ",")
    _delimited(directory / "train.tsv", flat, "\t")
    pq.write_table(pa.Table.from_pylist(rows), directory / "train.parquet")
    talks = [
        {
            "messages": [
                {"role": "system", "content": "Answer"},
                {"role": "user", "content": row["place"]},
                {"role": "assistant", "content": row["label"]},
            ]
        }
        for row in rows
    ]
    lines(directory / "talks.jsonl", talks)
    (directory / "candidates.txt").write_text("north\nsouth\nOslo\n")
    (directory / "where.toml").write_text(TASK)
    return directory


def _delimited(path: Path, rows: Sequence[Mapping[str, str]], delimiter: str) -> None:
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    path.write_text("\n".join(delimiter.join(cells) for cells in table))


def _copa(i: int) -> dict[str, Any]:
    texts = {"premise": "The cat sat.", "choice1": "The dog ran.", "choice2": "he sat."}
    return {"idx": i, **texts, "question": ("cause", "effect")[i % 2], "label": i % 2}


def _multirc(i: int) -> dict[str, Any]:
    answers = [{"idx": n, "text": f"the dog {n}", "label": n} for n in range(2)]
    question = {"idx": i, "question": "Who ran?", "answers": answers}
    return {"idx": i, "passage": {"text": "The dog ran.", "questions": [question]}}


def _wic(i: int) -> dict[str, Any]:
    places = {"start1": 4, "end1": 7, "start2": 2, "end2": 5}
    texts = {"word": "cat", "sentence1": "the cat sat", "sentence2": "a cat ran"}
    return {"idx": i, **texts, **places, "label": i % 2 == 0}


def _wsc(i: int) -> dict[str, Any]:
    target = {"span1_text": "the dog", "span1_index": 0, "span2_text": "he", "span2_index": 3}
    return {"idx": i, "text": "the dog ran he sat", "target": target, "label": i % 2 == 0}


_SUPERGLUE = {
    "BoolQ": lambda i: {
        "idx": i,
        "passage": "A cat sat.",
        "question": "is it",
        "label": i % 2 == 0,
    },
    "CB": lambda i: {
        "idx": i,
        "premise": "A cat sat.",
        "hypothesis": "It ran.",
        "label": ("entailment", "contradiction", "neutral")[i % 3],
    },
    "COPA": _copa,
    "MultiRC": _multirc,
    "RTE": lambda i: {
        "idx": i,
        "premise": "A cat sat.",
        "hypothesis": "It ran.",
        "label": ("entailment", "not_entailment")[i % 2],
    },
    "WiC": _wic,
    "WSC": _wsc,
}
