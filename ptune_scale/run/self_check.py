"""The self-check of a job: its model computes here what its library does, on rows of its own.

It costs a small batch. What was found right is kept for the same weights, settings and versions.
"""

import importlib.metadata
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.parity import Ids, check_parity
from ptune_scale.backbone.small_copy import small_copy
from ptune_scale.errors import UserError
from ptune_scale.parallel import Mesh
from ptune_scale.run.findings import finding

_LONGEST = 96
_ANY = {tuple(range(1, length)) for length in (4, 9, 17)}
"""Rows for a job that has none to look at."""

_log = logging.getLogger(__name__)


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
        tried = _sample(rows())
        finding(
            "self_check",
            _circumstances(backbone, mesh, is_whole, tried),
            lambda: _is_right(backbone, is_whole, tried),
        )

    mesh.world.on_main(check)


def _is_right(backbone: Backbone, is_whole: bool, rows: Sequence[Ids]) -> bool | None:
    """True, or None where it could not be compared, which is said.

    Raises:
        UserError: it computes something else.
    """
    if is_whole:
        check_parity(backbone.lm, rows, backbone.name)
    if not (is_whole and backbone.dtype == torch.float32):
        try:
            copy = small_copy(backbone)
        except UserError as error:
            _log.warning("model %s was not compared with transformers: %s", backbone.name, error)
            return None
        check_parity(copy, rows, backbone.name)
    return True


def _circumstances(
    backbone: Backbone, mesh: Mesh, is_whole: bool, rows: Sequence[Ids]
) -> list[Any]:
    """What the outcome depends on."""
    return [
        backbone.fingerprint,
        str(backbone.dtype),
        backbone.attention,
        asdict(backbone.shortcuts),
        backbone.weight_bits,
        is_whole,
        str(mesh.world.device.type),
        # To within a factor of two, so that each of many short jobs need not look again.
        [len(ids).bit_length() for ids in rows],
        *(importlib.metadata.version(name) for name in ("torch", "transformers")),
    ]


def _sample(rows: Iterable[Ids]) -> list[Ids]:
    """The shortest, a middling and the longest of some rows, as words alone."""
    cut = {ids[:_LONGEST] for ids in rows if len(ids) > 1}
    found = sorted(cut or _ANY, key=lambda ids: (len(ids), ids))
    return found if len(found) < 3 else [found[0], found[len(found) // 2], found[-1]]
