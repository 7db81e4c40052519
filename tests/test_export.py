"""Exported prompts: they come back as written and answer with their own backbone only."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ptune_scale.answer import TunedPrompt, load_prompt
from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.data.batch import Example, collate
from ptune_scale.errors import UserError
from ptune_scale.export import PromptExport
from ptune_scale.template import Template


@pytest.fixture(scope="module")
def backbone(tiny_gpt2: Path) -> Backbone:
    return load_backbone(str(tiny_gpt2))


@pytest.fixture
def export(backbone: Backbone) -> PromptExport:
    return PromptExport(
        prompts=torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0)),
        relations=("P36", "P19"),
        labels=("capital", "place of birth"),
        templates=(Template.parse("[P]*2 [X] [P] [Y]"), Template.parse("[P]*3 in [X] [Y]")),
        model=backbone.name,
        fingerprint=backbone.fingerprint,
    )


def test_what_was_exported_comes_back(export: PromptExport, tmp_path: Path) -> None:
    path = export.save(tmp_path / "prompt")
    assert [p.name for p in path.parent.iterdir()] == ["prompt.safetensors"]
    for place in (path, path.parent):
        loaded = PromptExport.load(place)
        assert torch.equal(loaded.prompts, export.prompts)
        for name in ("relations", "labels", "templates", "model", "fingerprint"):
            assert getattr(loaded, name) == getattr(export, name)
        parts = [[t.parts for t in each.templates] for each in (loaded, export)]
        assert parts[0] == parts[1]


def test_an_export_replaces_an_older_one(export: PromptExport, tmp_path: Path) -> None:
    export.save(tmp_path)
    dataclasses.replace(export, prompts=torch.zeros(2, 3, 32)).save(tmp_path)
    assert PromptExport.load(tmp_path).prompts.abs().sum() == 0


def test_junk_is_refused(export: PromptExport, tmp_path: Path) -> None:
    file = tmp_path / "prompt.safetensors"
    with pytest.raises(UserError, match="cannot be read"):
        PromptExport.load(tmp_path)
    content = export.save(tmp_path).read_bytes()
    for junk in (b"junk", b"", content[: len(content) // 2], content[:-10]):
        file.write_bytes(junk)
        with pytest.raises(UserError, match="cannot be read"):
            PromptExport.load(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"format": "99"}])
def test_another_format_is_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    save_file({"prompts": torch.zeros(1, 1, 2)}, tmp_path / "prompt.safetensors", metadata)
    with pytest.raises(UserError, match="has format"):
        PromptExport.load(tmp_path)


def test_a_safetensors_file_without_prompts_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "prompt.safetensors", {"format": "1"})
    with pytest.raises(UserError):
        PromptExport.load(tmp_path)


def test_a_relation_is_found_by_id_or_label_in_any_case(export: PromptExport) -> None:
    assert [export.row(name) for name in ("P19", "p36", "Place of Birth")] == [1, 0, 1]
    with pytest.raises(UserError, match="no relation 'P1'; it has P36, P19"):
        export.row("P1")


def test_a_tuned_prompt_answers_with_the_models_likeliest_words(
    export: PromptExport, backbone: Backbone
) -> None:
    answers = TunedPrompt(export, backbone).answer(" Norway ", "capital", k=4)
    cloze = export.templates[0].render("Norway", backbone.tokens)
    batch = collate([Example(0, cloze.ids, cloze.slots, (cloze.target,), 0)], 0)
    with torch.no_grad():
        expected = backbone.lm(batch, export.prompts)[0, 0].softmax(-1).topk(4)
    assert [a.text for a in answers] == [backbone.tokens.text(int(t)) for t in expected.indices]
    assert [a.probability for a in answers] == pytest.approx(expected.values.tolist())


def test_a_saved_prompt_answers_as_before(
    export: PromptExport, backbone: Backbone, tmp_path: Path
) -> None:
    export.save(tmp_path)
    loaded = load_prompt(tmp_path)
    expected = TunedPrompt(export, backbone).answer("Dante", "P19")
    assert len(expected) == 5
    assert loaded.answer("Dante", "P19") == expected


def test_another_backbone_is_refused(export: PromptExport, tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another model"):
        TunedPrompt(export, load_backbone(str(tiny_bert)))
    dataclasses.replace(export, fingerprint="0" * 64).save(tmp_path)
    with pytest.raises(UserError, match="another model"):
        load_prompt(tmp_path)


def test_an_empty_subject_or_unknown_relation_is_refused(
    export: PromptExport, backbone: Backbone
) -> None:
    tuned = TunedPrompt(export, backbone)
    with pytest.raises(UserError, match="subject is empty"):
        tuned.answer("  ", "P36")
    with pytest.raises(UserError, match="no relation"):
        tuned.answer("Norway", "P1")
