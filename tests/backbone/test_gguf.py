"""Copies of GGUF files are what was written, or are made anew."""

import json
import shutil
from pathlib import Path

from ptune_scale.backbone.gguf import _is_intact
from ptune_scale.files import sha256_of


def test_a_copy_of_which_any_file_has_changed_is_not_used(tiny_llama: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    assert not _is_intact(copy)  # of a version that wrote no digests
    digests = {path.name: sha256_of(path) for path in copy.iterdir()}
    (copy / "sha256.json").write_text(json.dumps(digests))
    assert _is_intact(copy)
    for path in sorted(copy.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        assert not _is_intact(copy), path.name
        path.unlink()
        assert not _is_intact(copy), path.name
        path.write_bytes(whole)
    assert _is_intact(copy)
    assert not _is_intact(tmp_path / "none")
