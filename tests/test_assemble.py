"""The identity of a run: what a run that goes on has to agree on with the one that began."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.assemble import build_job
from ptune_scale.check import check
from ptune_scale.config import LamaConfig
from ptune_scale.parallel import Degrees, Mesh, StopSignal, World


@pytest.fixture
def flags(tiny_gpt2: Path, tiny_facts: Path, tmp_path: Path) -> dict[str, Any]:
    """Flags of a run whose model, facts and candidate words a test may change."""
    shutil.copytree(tiny_gpt2, tmp_path / "model")
    words = tmp_path / "words.txt"
    words.write_text("Oslo\nStockholm\nParis\nBerlin\nEurope\n")
    return {
        "model": str(tmp_path / "model"),
        "data_dir": str(tiny_facts),
        "dtype": "float32",
        "dev_facts": 1,
        "candidates": str(words),
    }


def identity(flags: dict[str, Any], **other: Any) -> dict[str, Any]:
    flags = {**flags, **other}
    config = LamaConfig.from_flags(flags)
    world = World()
    mesh = Mesh.build(world, Degrees())
    facts = check(config)
    job = build_job(config, facts, flags, mesh, StopSignal(world), Path("nowhere"))
    return job.identity | job.setups["ptuning"].identity


def changed(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def test_the_words_count_and_not_the_name_of_their_file(flags, tmp_path):
    first = identity(flags)
    moved = tmp_path / "moved.txt"
    shutil.copy(flags["candidates"], moved)
    assert changed(first, identity(flags, candidates=str(moved))) == set()
    with moved.open("a") as file:
        file.write("Rome\n")
    assert changed(first, identity(flags, candidates=str(moved))) == {"candidates"}
    choices = [identity(flags, candidates=name) for name in ("full_vocab", "relation")]
    assert changed(*choices) == changed(first, choices[0]) == {"candidates"}


def test_another_tokenizer_beside_the_same_weights_is_noticed(flags):
    first = identity(flags)
    path = Path(flags["model"]) / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocab = tokenizer["model"]["vocab"]
    one, other = (next(word for word in vocab if word.endswith(end)) for end in ("Norway", "Paris"))
    vocab[one], vocab[other] = vocab[other], vocab[one]
    path.write_text(json.dumps(tokenizer))
    assert {"examples"} <= changed(first, identity(flags)) <= {"examples", "candidates"}


def test_what_changes_rounding_alone_may_differ(flags):
    same = identity(flags, attention="sdpa", rows_per_forward=1, eval_batch_size=2)
    assert changed(identity(flags), same) == set()
    assert changed(same, identity(flags, dtype="bfloat16")) == {"dtype"}
