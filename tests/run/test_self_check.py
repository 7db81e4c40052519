"""The self-check of a job: made once, and never taken for made."""

import json
from pathlib import Path

import pytest
import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees, Mesh, World
from ptune_scale.run.self_check import self_check

ROWS = [(5, 6, 7), (8, 9, 10, 11, 12)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTUNE_SCALE_CACHE", str(tmp_path))
    return tmp_path / "self_check"


def _check(backbone, rows=ROWS) -> None:
    self_check(backbone, Mesh.build(World(), Degrees()), lambda: rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_right_is_kept_for_the_same_weights_settings_and_rows(
    dtype: torch.dtype, tiny_llama: Path, cache: Path
) -> None:
    backbone = load_backbone(str(tiny_llama), dtype=dtype)
    _check(backbone)
    [kept] = cache.iterdir()
    _check(backbone)
    assert list(cache.iterdir()) == [kept]
    _check(backbone, [*ROWS, (3, 4)])
    _check(load_backbone(str(tiny_llama), dtype=dtype, attention="sdpa"))
    assert len(list(cache.iterdir())) == 3
    # One that says something else, or nothing, is made again.
    kept.write_text("{")
    _check(backbone)
    assert json.loads(kept.read_text())["found"] is True


def test_what_is_wrong_is_found_again_each_time(tiny_llama: Path, cache: Path) -> None:
    backbone = load_backbone(str(tiny_llama))
    backbone.lm.prepare()
    # The merged weights that rows go through are no views of the model's own any more.
    for weights in backbone.lm.prepared._weights:
        weights.down.weight.data = weights.down.weight * 1.5
    for _ in range(2):
        with pytest.raises(UserError, match="rows beside one another the logits differ"):
            _check(backbone)
    assert not cache.exists()


def test_without_rows_others_are_tried(tiny_llama: Path, cache: Path) -> None:
    _check(load_backbone(str(tiny_llama)), [])
    assert len(list(cache.iterdir())) == 1
