"""Models that cannot be loaded are refused before anything is."""

from pathlib import Path

import pytest

from ptune_scale.backbone import find_model, load_backbone
from ptune_scale.errors import UserError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./nowhere", "nowhere.*no such file"),
        ("megatron-11b", "only its sizes are built in"),
    ],
)
def test_what_is_not_there_is_refused(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_model(name)


def test_a_directory_needs_a_configuration_and_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="has no weights"):
        find_model(str(tmp_path))


def test_a_file_must_be_gguf_and_whole(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    with pytest.raises(UserError, match="must be a GGUF file"):
        find_model(str(tmp_path / "model.bin"))
    (tmp_path / "other.gguf").write_bytes(b"weights")
    with pytest.raises(UserError, match="does not begin with 'GGUF'"):
        load_backbone(str(tmp_path / "other.gguf"))
    packaged = find_model("smollm2-135m").path
    with packaged.open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(packaged.stat().st_size // 2))
    with pytest.raises(UserError, match="truncated"):
        load_backbone(str(tmp_path / "cut.gguf"))
