"""Exported prompts: they come back as written, equal ones as equal bytes, changed ones not."""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ptune_scale.errors import UserError
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.words import Words
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Wording
from ptune_scale.use.export import ExportedTask, PromptExport
from tests.campaigns.damage import JSON_VALUES, odd_json

Export = Callable[..., PromptExport]


@pytest.fixture
def small() -> PromptExport:
    """Two tasks with vectors of two numbers."""
    words = Words({"north": ("Oslo",), "south": ("Rome",)})
    tasks = [
        ExportedTask(name, label, Wording(Pattern.parse("{a} [P] [Y]"), words), 9)
        for name, label in (("P36", "capital"), ("P19", "place of birth"))
    ]
    return PromptExport(torch.tensor([[[0.5, -2]], [[1, 3]]]), tuple(tasks), "tiny", "abc", "8")


def test_every_kind_of_task_comes_back(export_of: Export, wordings, tmp_path: Path) -> None:
    export = export_of(*wordings)
    path = export.save(tmp_path / "prompt")
    assert [p.name for p in path.parent.iterdir()] == ["prompt.safetensors"]
    for place in (path, path.parent):
        loaded = PromptExport.load(place)
        assert torch.equal(loaded.prompts, export.prompts)
        assert loaded.tasks == export.tasks and loaded.digest == export.digest
        for one, other in zip(loaded.tasks, export.tasks, strict=True):
            assert one.wording.pattern.pieces == other.wording.pattern.pieces
        assert (loaded.model, loaded.fingerprint) == (export.model, export.fingerprint)
        assert loaded.weight_bits == "full"


def test_a_reference_pattern_and_fewer_bits_come_back(small: PromptExport, tmp_path: Path) -> None:
    pattern = Pattern.reference("{a...}|[P]|? |[Y].")
    task = ExportedTask("cb", "cb", Wording(pattern, small.tasks[0].wording.answer))
    export = dataclasses.replace(small, tasks=(task,), prompts=small.prompts[:1])
    loaded = PromptExport.load(export.save(tmp_path))
    assert loaded.tasks == export.tasks and loaded.weight_bits == "8"
    assert loaded.tasks[0].wording.pattern.pieces == pattern.pieces


def test_of_candidate_sets_the_one_that_decides_is_kept(
    small: PromptExport, tmp_path: Path
) -> None:
    sets = {"mine": ("Oslo", "Rome"), "all": None}
    task = dataclasses.replace(
        small.tasks[0], wording=Wording(Pattern.parse("{a} [P] [Y]"), Ranked(sets))
    )
    both = (task, dataclasses.replace(task, name="P19"))
    path = dataclasses.replace(small, tasks=both).save(tmp_path)
    for loaded in PromptExport.load(path).tasks:
        assert loaded.wording.answer == Ranked({"mine": ("Oslo", "Rome")})
    # A list that tasks share is written once.
    assert path.read_bytes().count(b"Oslo") == 1


def test_equal_prompts_are_equal_bytes(small: PromptExport, tmp_path: Path) -> None:
    other = dataclasses.replace(small, prompts=small.prompts.clone().requires_grad_())
    files = [
        one.save(tmp_path / str(i)).read_bytes() for i, one in enumerate((small, small, other))
    ]
    assert files[0] == files[1] == files[2]
    loaded = PromptExport.load(tmp_path / "0")
    assert loaded.save(tmp_path / "again").read_bytes() == files[0]
    changed = dataclasses.replace(small, fingerprint="abd")
    assert changed.digest != small.digest == loaded.digest


def test_an_export_replaces_an_older_one(small: PromptExport, tmp_path: Path) -> None:
    small.save(tmp_path)
    dataclasses.replace(small, prompts=torch.zeros(2, 1, 2)).save(tmp_path)
    assert PromptExport.load(tmp_path).prompts.abs().sum() == 0


def test_every_flipped_bit_is_noticed(small: PromptExport, tmp_path: Path) -> None:
    path = small.save(tmp_path)
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(UserError, match="^prompt .*safetensors") as refusal:
            PromptExport.load(path)
        assert "\n" not in str(refusal.value), place


def test_junk_is_refused(small: PromptExport, tmp_path: Path) -> None:
    file = tmp_path / "prompt.safetensors"
    with pytest.raises(UserError, match="is not there"):
        PromptExport.load(tmp_path)
    content = small.save(tmp_path).read_bytes()
    for junk in (b"junk", b"", content[: len(content) // 2], content[:-1], content + b"\0"):
        file.write_bytes(junk)
        with pytest.raises(UserError, match="cannot be read"):
            PromptExport.load(tmp_path)


@pytest.mark.parametrize(
    ("tensor", "metadata", "message"),
    [
        ("prompts", None, "is none of this library's: it has no description"),
        ("prompts", {"format": "pt"}, "is none of this library's"),
        ("prompts", {"ptune_scale": "{"}, "its description cannot be read"),
        ("prompts", {"ptune_scale": "[1]"}, "its description is not what"),
        ("prompts", {"ptune_scale": '{"about": 1, "sha256": "0"}'}, "is damaged"),
        ("prompts", {"ptune_scale": '{"about": "{}", "sha256": "0"}'}, "is not what was saved"),
        ("weight", {}, "cannot be read"),
    ],
)
def test_another_file_is_refused(
    tensor: str, metadata: dict[str, str] | None, message: str, tmp_path: Path
) -> None:
    save_file({tensor: torch.zeros(1, 1, 2)}, tmp_path / "prompt.safetensors", metadata)
    with pytest.raises(UserError, match=message):
        PromptExport.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": torch.full((2, 1, 2), torch.nan)}, "its vectors are not finite"),
        ({"prompts": torch.full((2, 1, 2), torch.inf)}, "its vectors are not finite"),
        ({"prompts": torch.zeros(3, 1, 2)}, r"vectors \(3, 1, 2\) do not fit 2 tasks"),
        ({"prompts": torch.zeros(2, 2)}, "do not fit 2 tasks"),
        ({"prompts": torch.zeros(2, 4, 2)}, "its patterns have 1 slots, its vectors 4"),
    ],
)
def test_vectors_and_tasks_that_do_not_go_together_are_refused(
    change: dict[str, Any], message: str, small: PromptExport, tmp_path: Path
) -> None:
    path = dataclasses.replace(small, **change).save(tmp_path)
    with pytest.raises(UserError, match=message):
        PromptExport.load(path)


def test_two_tasks_of_one_name_are_refused(small: PromptExport, tmp_path: Path) -> None:
    path = dataclasses.replace(small, tasks=small.tasks[:1] * 2).save(tmp_path)
    with pytest.raises(UserError, match="two of its tasks have the same name"):
        PromptExport.load(path)


def test_a_description_of_another_format_is_refused(
    small: PromptExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ptune_scale.use.export._FORMAT", 99)
        path = small.save(tmp_path)
    with pytest.raises(UserError, match="has format 99, want 1"):
        PromptExport.load(path)


def test_a_task_is_found_by_name_or_label_in_any_case(small: PromptExport) -> None:
    assert [small.row(name) for name in ("P19", "p36", "Place of Birth")] == [1, 0, 1]
    with pytest.raises(UserError, match="no task 'P1'; it has P36, P19"):
        small.row("P1")


def _resealed(path: Path, about: str) -> None:
    sealed = {"about": about, "sha256": hashlib.sha256(about.encode()).hexdigest()}
    with safe_open(path, "pt") as file:
        prompts = file.get_tensor("prompts")
    save_file({"prompts": prompts}, path, {"ptune_scale": json.dumps(sealed)})


def test_any_value_in_a_description_is_taken_or_refused_in_one_line(
    small: PromptExport, tmp_path: Path
) -> None:
    path = small.save(tmp_path)
    with safe_open(path, "pt") as file:
        about = json.loads(json.loads(file.metadata()["ptune_scale"])["about"])
    for number in range(400):
        chance = Random(number)
        _resealed(path, odd_json(copy.deepcopy(about), chance, chance.choice(JSON_VALUES)))
        try:
            found = PromptExport.load(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert all(isinstance(task.name, str) for task in found.tasks)


def test_vectors_of_another_width_are_refused(export_of: Export, backbone) -> None:
    export = export_of("words")
    export.check_backbone(backbone)
    wider = dataclasses.replace(export, prompts=torch.zeros(1, 3, 33))
    with pytest.raises(UserError, match="vectors have 33 numbers each, the words of .* 32"):
        wider.check_backbone(backbone)


@pytest.mark.parametrize("shape", [(0, 1, 2), (2, 1, 0)])
def test_no_vectors_at_all_are_refused(shape, small: PromptExport, tmp_path: Path) -> None:
    tasks = small.tasks[: shape[0]]
    export = dataclasses.replace(small, prompts=torch.zeros(shape), tasks=tasks)
    with pytest.raises(UserError, match="of no task, or empty"):
        PromptExport.load(export.save(tmp_path))
