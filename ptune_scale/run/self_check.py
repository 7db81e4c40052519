"""The self-check of a job: its model computes here what its library does, on rows of its own.

It costs a small batch. What was found right is kept for the same weights, settings and versions.
"""

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch

import ptune_scale
from ptune_scale.backbone import Backbone
from ptune_scale.backbone.gguf import cache_root
from ptune_scale.backbone.parity import Ids, check_parity, small_copy
from ptune_scale.errors import UserError
from ptune_scale.files import write_json
from ptune_scale.parallel import Mesh

_LONGEST = 96


def self_check(backbone: Backbone, mesh: Mesh, rows: Callable[[], Iterable[Ids]]) -> None:
    """Make sure that a laid-out backbone can be believed; all ranks call it together.

    Where ranks hold the whole model the main rank checks that. Where they do not, or in bf16, a
    small copy of the family with random weights in fp32 shows what it does.

    Args:
        rows: gives token ids of some of the job's rows, what stands at prompt slots among them.

    Raises:
        UserError: it computes something else than its library's own forward pass.
    """
    degrees = mesh.degrees
    is_whole = degrees.is_replicated and not degrees.is_sharded

    def check() -> None:
        kept = cache_root() / "self_check" / f"{_identity(backbone, is_whole)}.json"
        if _is_right(kept):
            return
        tried = _sample(rows())
        if not tried:
            return
        if is_whole:
            check_parity(backbone.lm, tried, backbone.name)
        is_exact = is_whole and backbone.dtype == torch.float32
        if not is_exact and (copy := small_copy(backbone)) is not None:
            check_parity(copy, tried, backbone.name)
        with contextlib.suppress(UserError):  # a cache that cannot be written is no fault
            write_json(kept, {"right": True})

    mesh.world.on_main(check)


def _is_right(kept: Path) -> bool:
    try:
        return json.loads(kept.read_text(encoding="utf-8")) == {"right": True}
    except (OSError, ValueError):
        return False


def _identity(backbone: Backbone, is_whole: bool) -> str:
    """What the outcome depends on."""
    digest = hashlib.sha256()
    for path in sorted((Path(ptune_scale.__file__).parent / "backbone").rglob("*.py")):
        digest.update(path.read_bytes())
    settings = [
        backbone.fingerprint,
        str(backbone.dtype),
        backbone.attention,
        asdict(backbone.shortcuts),
        backbone.weight_bits,
        is_whole,
        *(importlib.metadata.version(name) for name in ("torch", "transformers")),
    ]
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()[:32]


def _sample(rows: Iterable[Ids]) -> list[Ids]:
    """The shortest, a middling and the longest of some rows, as words alone."""
    cut = {ids[:_LONGEST] for ids in rows if len(ids) > 1}
    found = sorted(cut, key=lambda ids: (len(ids), ids))
    return found if len(found) < 3 else [found[0], found[len(found) // 2], found[-1]]
