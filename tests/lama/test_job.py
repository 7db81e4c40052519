"""A job of relations: what is refused before it begins, and what a run that goes on agrees on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.errors import UserError
from ptune_scale.lama.check import check
from ptune_scale.lama.config import LamaConfig


@pytest.fixture
def own_model(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """A model directory that a test may change."""
    return shutil.copytree(tiny_gpt2, tmp_path / "model")


@pytest.fixture
def identity(job_of, own_model: Path):
    """The identity of a run with flags."""

    def make(**flags: Any) -> dict[str, Any]:
        job = job_of(own_model, **flags)
        return job.identity("ptuning", job.asked())

    return make


def changed(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def test_the_candidates_count_and_not_the_name_of_their_file(identity, tmp_path):
    words, moved = tmp_path / "words.txt", tmp_path / "moved.txt"
    words.write_text("Oslo\nStockholm\nParis\nBerlin\nEurope\n")
    shutil.copy(words, moved)
    first = identity(candidates=str(words))
    assert changed(first, identity(candidates=str(moved))) == set()
    with moved.open("a") as file:
        file.write("Rome\n")
    assert changed(first, identity(candidates=str(moved))) == {"content"}
    choices = [identity(candidates=name) for name in ("full_vocab", "relation")]
    assert changed(*choices) == changed(first, choices[0]) == {"content"}


def test_another_tokenizer_beside_the_same_weights_is_noticed(identity, own_model):
    first = identity()
    path = own_model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocab = tokenizer["model"]["vocab"]
    one, other = (next(word for word in vocab if word.endswith(end)) for end in ("Norway", "Paris"))
    vocab[one], vocab[other] = vocab[other], vocab[one]
    path.write_text(json.dumps(tokenizer))
    assert changed(first, identity()) == {"content", "tokenizer"}


def test_what_changes_rounding_alone_may_differ(identity):
    same = identity(speed="plain", rows_per_forward=1, eval_batch_size=2)
    assert changed(identity(), same) == set()
    assert changed(same, identity(dtype="bfloat16")) == {"dtype"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"relations": ""}, "--relations names none"),
        ({"relations": "P36,P99"}, "unknown relation 'P99'"),
        ({"template": "[X] [Y]"}, r"no prompt slot \[P\] to train"),
        ({"template": "[P] [Y]"}, r"asks about nothing; write \[X\] for the subject"),
        ({"template": "[P] [X] {body} [Y]"}, "asks about subject, body"),
        ({"template": "[P]*80 [X] [Y]"}, "too long for the 64 of max_length"),
        ({"candidates": "common_vocab"}, "has no such list"),
        ({"candidates": "nowhere.txt"}, "candidate file nowhere.txt"),
        (
            {"method": "autoprompt_bert"},
            "choose from majority, manual, incontext, incontext_retrieved, ptuning",
        ),
        ({"method": "lpaqa"}, "does not exist; expected .*--prompts_dir"),
        ({"method": "lpaqa", "data_dir": "embedded", "relations": "all"}, "facts come without"),
        ({"preset": "reference", "template": "[P] [X] [Y]"}, "three numbers of prompt slots"),
        ({"objects": "all", "method": "autoprompt"}, "--objects all with --method autoprompt"),
        (
            {"objects": "all", "spelling": "reference", "template": "(3, 3, 3)"},
            "--objects all with --spelling reference",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_laid_out(
    flags, message, own_model, tiny_facts
):
    asked = {"model": str(own_model), "data_dir": str(tiny_facts), **flags}
    with pytest.raises(UserError, match=message):
        check(LamaConfig.from_flags(asked))


def test_objects_of_any_length_need_a_causal_model(job_of, tiny_bert):
    with pytest.raises(UserError, match="--objects all needs a causal model"):
        job_of(tiny_bert, objects="all")
