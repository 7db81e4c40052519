"""Checkpoints: whole or not there, and only for the run that they belong to."""

import contextlib
import hashlib
import json
import pickle
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ptune_scale.errors import UserError
from ptune_scale.files import NotWritten
from ptune_scale.train import checkpoint
from tests.campaigns.damage import JSON_VALUES

IDENTITY = {"method": "ptuning", "backbone": "abc", "template": "[X] [P] [Y]", "seed": 34}
FLAGS = {"seed": 34, "tasks": ["P36"]}


def _parts(value: float = 1.0) -> dict[str, object]:
    return {
        "state": {"visits": [1, 2]},
        "encoder-P36": {"parameters": {"vectors": torch.full((2, 3), value)}},
        "encoder-P17": {"parameters": {"vectors": torch.full((2, 3), -value)}},
    }


def _vectors(path: Path, name: str = "encoder-P36") -> torch.Tensor:
    return checkpoint.load_part(path, name)["parameters"]["vectors"]


def _save(directory: Path, step: int, **more: int) -> Path:
    return checkpoint.save(directory, step, _parts(step), IDENTITY, FLAGS, **more)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = _save(tmp_path / "checkpoint", 150)
    assert path.name == "step-000150"
    files = ["encoder-P17.pt", "encoder-P36.pt", "meta.json", "state.pt"]
    assert sorted(p.name for p in path.iterdir()) == files
    assert torch.equal(_vectors(path), torch.full((2, 3), 150.0))
    assert torch.equal(_vectors(path, "encoder-P17"), torch.full((2, 3), -150.0))
    assert checkpoint.load_part(path, "state") == {"visits": [1, 2]}
    meta = checkpoint.read_meta(path)
    assert (meta["step"], meta["identity"], meta["flags"]) == (150, IDENTITY, FLAGS)


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 20, 100, 1_000_000):
        _save(tmp_path, step)
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-000100", "step-1000000"]
    assert len(list(tmp_path.iterdir())) == 2


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    _save(tmp_path, 5)
    path = checkpoint.save(tmp_path, 5, _parts(-1.0), IDENTITY, FLAGS)
    assert torch.equal(_vectors(path), torch.full((2, 3), -1.0))


@pytest.mark.parametrize("survives", range(7))
def test_a_process_killed_while_it_replaces_a_step_leaves_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    _save(tmp_path, 5)
    left = survives

    def until_killed(operation: Callable[..., object]) -> Callable[..., object]:
        def operate(*arguments: object, **more: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return operation(*arguments, **more)

        return operate

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", until_killed(Path.rename))
        patch.setattr(shutil, "rmtree", until_killed(shutil.rmtree))
        killed = survives < 6
        with pytest.raises(KeyboardInterrupt) if killed else contextlib.nullcontext():
            checkpoint.save(tmp_path, 5, _parts(-1.0), IDENTITY, FLAGS)
    found = checkpoint.find(tmp_path)
    assert checkpoint.read_meta(found)["step"] == 5
    value = 5.0 if survives < 3 else -1.0
    assert torch.equal(_vectors(found), torch.full((2, 3), value))
    assert torch.equal(_vectors(found, "encoder-P17"), torch.full((2, 3), -value))
    # And the next save cleans up.
    _save(tmp_path, 6)
    names = sorted(path.name.removesuffix(".old") for path in tmp_path.iterdir())
    assert names == ["step-000005", "step-000006"]


def test_the_remains_of_a_killed_run_are_neither_found_nor_in_the_way(tmp_path: Path) -> None:
    names = [".step-000009.partial", ".step-000007.partial", ".step-000003.removed", "step-000009"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.pt").write_bytes(b"half")
    assert checkpoint.checkpoints(tmp_path) == []
    path = _save(tmp_path, 9)
    assert checkpoint.checkpoints(tmp_path) == [path]
    assert list(tmp_path.iterdir()) == [path]
    checkpoint.load_part(path, "state")


def test_what_lost_its_description_does_not_hide_an_intact_one(tmp_path: Path) -> None:
    older, newer = _save(tmp_path, 5), _save(tmp_path, 10)
    (newer / "meta.json").unlink()
    assert checkpoint.find(tmp_path) == older


def test_later_ones_are_out_of_the_way_of_a_run_that_goes_on_from_an_older_one(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        older, later = _save(tmp_path, 5), _save(tmp_path, 10)
        checkpoint.abandon_after(tmp_path, 5)
        assert checkpoint.checkpoints(tmp_path) == [older]
        assert torch.equal(_vectors(tmp_path / f"abandoned-{later.name}"), torch.full((2, 3), 10.0))
    newest = _save(tmp_path, 7)
    assert checkpoint.checkpoints(tmp_path) == [older, newest]


@pytest.mark.parametrize("part", ["state", "encoder-P36"])
@pytest.mark.parametrize("damage", ["cut", "flip", "missing"])
def test_a_damaged_part_is_refused(tmp_path: Path, damage: str, part: str) -> None:
    path = _save(tmp_path, 5)
    file = path / f"{part}.pt"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()
    with pytest.raises(UserError, match=rf"{part}\.pt is missing or damaged"):
        checkpoint.load_part(path, part)
    checkpoint.load_part(path, "encoder-P17")


def test_parts_that_changed_places_are_refused(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    one, other = path / "encoder-P36.pt", path / "encoder-P17.pt"
    one.rename(path / "aside")
    other.rename(one)
    (path / "aside").rename(other)
    with pytest.raises(UserError, match=r"encoder-P36\.pt is missing or damaged"):
        checkpoint.load_part(path, "encoder-P36")
    meta = json.loads((path / "meta.json").read_text())
    digests = meta["sha256"]
    digests["encoder-P36"], digests["encoder-P17"] = digests["encoder-P17"], digests["encoder-P36"]
    (path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=r"encoder-P36\.pt is that of 'encoder-P17'"):
        checkpoint.load_part(path, "encoder-P36")


def test_a_part_that_was_not_saved_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    (path / "encoder-P19.pt").write_bytes((path / "encoder-P36.pt").read_bytes())
    with pytest.raises(UserError, match=r"encoder-P19\.pt is missing or damaged"):
        checkpoint.load_part(path, "encoder-P19")


def test_an_id_that_is_no_file_name_makes_no_difference(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 5, {"encoder-a/b é": [1]}, IDENTITY, FLAGS)
    assert checkpoint.load_part(path, "encoder-a/b é") == [1]


def test_a_failed_write_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    older = _save(tmp_path, 5)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        checkpoint.save(tmp_path, 6, {"state": lambda: None}, IDENTITY, FLAGS)
    assert checkpoint.checkpoints(tmp_path) == [older]


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    meta = {"format": 1, "step": 5, "state_sha256": "0", "identity": IDENTITY, "flags": FLAGS}
    (path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="has format 1, this version reads 3"):
        checkpoint.read_meta(path)


@pytest.mark.parametrize("text", ["{", json.dumps({"format": 99}), '{"format": 3}', None])
def test_a_damaged_or_foreign_description_is_refused(tmp_path: Path, text: str | None) -> None:
    path = _save(tmp_path, 5)
    if text is None:
        (path / "meta.json").unlink()
    else:
        (path / "meta.json").write_text(text)
    with pytest.raises(UserError, match="step-000005"):
        checkpoint.read_meta(path)


def test_a_checkpoint_is_found_from_any_directory_around_it(tmp_path: Path) -> None:
    _save(tmp_path / "checkpoint", 5)
    newest = _save(tmp_path / "checkpoint", 10)
    for path in (tmp_path, tmp_path / "checkpoint", newest):
        assert checkpoint.find(path) == newest
    for path in (tmp_path / "nowhere", newest.parent.parent / "empty"):
        with pytest.raises(UserError, match="no checkpoint there"):
            checkpoint.find(path)


def test_a_run_of_the_same_identity_may_go_on(tmp_path: Path) -> None:
    saved = checkpoint.read_meta(_save(tmp_path, 5))["identity"]
    checkpoint.check_identity(saved, dict(IDENTITY), tmp_path)


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ({**IDENTITY, "seed": 35}, "seed was 34, is 35"),
        ({**IDENTITY, "template": "[X] [Y]"}, "template was .* is "),
        ({**IDENTITY, "encoder": "mlp"}, "encoder was None, is 'mlp'"),
        ({**IDENTITY, "seed": 1, "backbone": "x"}, "backbone was 'abc', is 'x'; seed was"),
    ],
)
def test_every_value_that_differs_is_named(now: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        checkpoint.check_identity(IDENTITY, now, Path("run"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 3}'])
def test_a_damaged_newest_one_is_not_in_the_way_of_one_that_is_named(
    tmp_path: Path, content: bytes
) -> None:
    older, newest = _save(tmp_path / "checkpoint", 5), _save(tmp_path / "checkpoint", 10)
    (newest / "meta.json").write_bytes(content)
    assert checkpoint.find_all(older) == {"ptuning": older}
    with pytest.raises(UserError, match=f"step-000010.*; there is --resume_from {older}"):
        checkpoint.find_all(tmp_path)
    with pytest.raises(UserError, match=f"step-000010.*; there is --resume_from {older}"):
        checkpoint.find_all(newest)


def test_what_is_damaged_of_another_method_is_not_in_the_way(tmp_path: Path) -> None:
    named = _save(tmp_path / "checkpoint", 5)
    identity = {**IDENTITY, "method": "other"}
    others = tmp_path / "other" / "checkpoint"
    older = checkpoint.save(others, 1, _parts(), identity, FLAGS)
    newest = checkpoint.save(others, 2, _parts(), identity, FLAGS)
    assert checkpoint.find_all(named) == {"ptuning": named, "other": newest}
    (newest / "meta.json").write_text("")
    assert checkpoint.find_all(named) == {"ptuning": named, "other": older}


def test_a_checkpoint_that_is_named_and_not_there_does_not_mean_another(tmp_path: Path) -> None:
    older = _save(tmp_path / "checkpoint", 5)
    empty = older.with_name("step-000010")
    empty.mkdir()
    for named in (empty, older.with_name("step-000015"), tmp_path / "nowhere"):
        with pytest.raises(UserError, match=f"--resume_from {named}: no checkpoint there"):
            checkpoint.find_all(named)


def test_a_run_that_was_stopped_before_its_first_one_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert checkpoint.find_all(tmp_path) == {}


@pytest.mark.parametrize("size", [0, 100, 1000, 3000])
def test_a_disk_that_is_full_loses_nothing_and_keeps_no_half(tmp_path: Path, size: int) -> None:
    older = _save(tmp_path, 5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(NotWritten, match=r"step-000006.* cannot be written: File too large"):
            checkpoint.save(tmp_path, 6, {"state": torch.zeros(10_000)}, IDENTITY, FLAGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [older]
    assert torch.equal(_vectors(older), torch.full((2, 3), 5.0))


def test_a_link_where_a_checkpoint_is_to_be_made_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    (directory / ".step-000005.partial").symlink_to(precious)
    with pytest.raises(NotWritten):
        _save(directory, 5)
    assert list(precious.iterdir()) == []


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_any_description_is_taken_or_refused_in_one_line(value: str, tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    meta = json.loads((path / "meta.json").read_text())
    for key in (*meta, None):
        text = json.dumps({**meta, key: "HERE"}) if key else '"HERE"'
        (path / "meta.json").write_text(text.replace('"HERE"', value))
        for look in (checkpoint.read_meta, checkpoint.method_of, checkpoint.find_all):
            try:
                look(path)
            except UserError as error:
                assert "step-000005" in str(error) and "\n" not in str(error)
        with contextlib.suppress(UserError):
            checkpoint.load_part(path, "state")


def test_a_description_that_leads_nowhere_is_not_no_checkpoint(tmp_path: Path) -> None:
    path = _save(tmp_path / "checkpoint", 5)
    (path / "meta.json").unlink()
    (path / "meta.json").symlink_to("nowhere")
    with pytest.raises(UserError, match="meta.json is a link that leads nowhere"):
        checkpoint.find(tmp_path)


def test_a_part_that_is_whole_but_none_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    meta = json.loads((path / "meta.json").read_text())
    for content in (b"", b"junk", pickle.dumps(print), pickle.dumps([1])):
        (path / "state.pt").write_bytes(content)
        meta["sha256"]["state"] = hashlib.sha256(content).hexdigest()
        (path / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(UserError, match="state.pt is no part of one"):
            checkpoint.load_part(path, "state")
