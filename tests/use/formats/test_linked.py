"""An exported checkpoint shares those files of the model whose tensors are the same."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ptune_scale.use.formats import FORMATS
from ptune_scale.use.formats.compare import compare
from tests.use.conftest import WORDINGS
from tests.use.formats.test_formats import PLACES, prompt_of, records_of, written


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def sharded(request, tiny_llama: Path, tmp_path: Path) -> Path:
    """A model in several files."""
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    model.config.tie_word_embeddings = request.param
    if request.param:
        model.tie_weights()
    target = tmp_path / "sharded"
    model.save_pretrained(target, max_shard_size="20KB")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(target)
    assert len(list(target.glob("*.safetensors"))) > 3
    return target


def files(directory: Path) -> dict[str, Path]:
    return {path.name: path for path in directory.glob("*.safetensors")}


def test_unchanged_files_are_linked_and_answers_are_the_same(sharded: Path, tmp_path: Path) -> None:
    prompt = prompt_of(sharded, {"words": WORDINGS["words"], "text": WORDINGS["text"]})
    out = written("model", prompt, tmp_path / "out")
    old, new = files(sharded), files(out)
    assert old.keys() == new.keys()
    shared = [name for name in old if os.path.samefile(old[name], new[name])]
    assert 0 < len(shared) < len(old)
    found = compare(prompt, records_of(prompt), FORMATS["model"].load(prompt, [0, 1], out))
    assert found.same == found.records == 2 * len(PLACES) and found.difference < 1e-4


def test_files_are_copied_where_there_are_no_links(
    sharded: Path, tmp_path: Path, monkeypatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    prompt = prompt_of(sharded, {"words": WORDINGS["words"]})
    out = written("model", prompt, tmp_path / "out")
    old, new = files(sharded), files(out)
    same = [name for name in old if old[name].read_bytes() == new[name].read_bytes()]
    assert same and not any(os.path.samefile(old[name], new[name]) for name in old)


def test_numbers_of_another_precision_are_written_anew(sharded: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(sharded, dtype=torch.bfloat16).save_pretrained(
        half, max_shard_size="20KB"
    )
    for path in sharded.glob("token*"):
        shutil.copy(path, half)
    prompt = prompt_of(half, {"words": WORDINGS["words"]})
    out = written("model", prompt, tmp_path / "out")
    assert all(path.stat().st_nlink == 1 for path in files(out).values())
    found = compare(prompt, records_of(prompt), FORMATS["model"].load(prompt, [0], out))
    assert found.same == len(PLACES)
