"""A GGUF file with rows for slots answers as the prompt does, and is otherwise the one it was."""

import json
from pathlib import Path

import gguf
import numpy
import pytest
import torch
from transformers import AutoTokenizer

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.errors import UserError
from ptune_scale.use.formats import FORMATS
from ptune_scale.use.formats.compare import compare
from ptune_scale.use.prompt import TunedPrompt
from tests.use.conftest import WORDINGS
from tests.use.formats.test_formats import PLACES, prompt_of, records_of, written

TASKS = {"words": WORDINGS["words"], "text": WORDINGS["text"]}


@pytest.fixture
def prompt(tiny_gguf: Path, tmp_path: Path, monkeypatch) -> TunedPrompt:
    monkeypatch.setenv("PTUNE_SCALE_CACHE", str(tmp_path / "cache"))
    return prompt_of(tiny_gguf, TASKS)


def test_what_is_read_back_answers_the_same(prompt: TunedPrompt, tmp_path: Path) -> None:
    out = written("gguf", prompt, tmp_path / "out")
    found = compare(prompt, records_of(prompt), FORMATS["gguf"].load(prompt, [0, 1], out))
    assert found.same == found.records == 2 * len(PLACES) and found.difference < 1e-4


def test_all_but_words_and_head_is_the_same_to_the_bit(
    prompt: TunedPrompt, tiny_gguf: Path, tmp_path: Path
) -> None:
    out = written("gguf", prompt, tmp_path / "out")
    old, new = gguf.GGUFReader(tiny_gguf), gguf.GGUFReader(out / "model.gguf")
    assert [tensor.name for tensor in old.tensors] == [tensor.name for tensor in new.tensors]
    count = sum(task.num_slots for task in prompt.tasks)
    for before, after in zip(old.tensors, new.tensors, strict=True):
        if before.name not in ("token_embd.weight", "output.weight"):
            assert before.tensor_type == after.tensor_type
            assert numpy.array_equal(before.data, after.data)
        else:
            whole = gguf.quants.dequantize(before.data, before.tensor_type)
            assert numpy.array_equal(after.data[: len(whole)], whole)
            assert len(after.data) == len(whole) + count
    for name, field in old.fields.items():
        if name.startswith(("llama.", "tokenizer.")) and isinstance(field.contents(), list):
            grown = new.fields[name].contents()[len(field.contents()) :]
            assert len(grown) == (0 if name.endswith("merges") else count)
    assert new.fields["llama.vocab_size"].contents() == prompt.backbone.vocab_size + count


def test_its_own_tokenizer_spells_the_template(prompt: TunedPrompt, tmp_path: Path) -> None:
    out = written("gguf", prompt, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(str(out), gguf_file="model.gguf")
    about = json.loads((out / "ptune_scale.json").read_text())["tasks"]["words"]
    example = prompt.tasks[0].questions(records_of(prompt)[0], "evaluate")[0].rows[0]
    text = about["template"].replace("{a}", PLACES[0])
    # Special tokens in front are the business of whoever asks.
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    slots = [about["ids"].index(token) if token in about["ids"] else -1 for token in ids]
    kept = len(ids)
    assert slots == list(example.slots[-kept:])
    pairs = zip(ids, example.ids[-kept:], slots, strict=True)
    assert all(mine == theirs for mine, theirs, slot in pairs if slot < 0)


def test_our_own_reader_takes_it_as_a_model(prompt: TunedPrompt, tmp_path: Path) -> None:
    out = written("gguf", prompt, tmp_path / "out")
    model = load_backbone(str(out / "model.gguf"), dtype=torch.float32, shortcuts=PLAIN).lm.model
    rows = model.get_input_embeddings().weight[-prompt.tasks[1].num_slots :]
    expected = prompt.export.prompts[1, : prompt.tasks[1].num_slots]
    assert torch.equal(rows.detach(), expected)


def test_models_that_are_no_gguf_file_are_refused(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match="is for models that are GGUF files.*use --to model"):
        FORMATS["gguf"].check(prompt_of(tiny_llama, TASKS), [0])
