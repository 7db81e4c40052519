"""Differences between what two layouts kept, and tables of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Comparison:
    """One layout beside the reference, which ran in a single process.

    Attributes:
        layout: its name.
        ranks: their number.
        loss: largest difference of a relation's loss over all steps, relative to the largest loss.
        gradient: largest difference of dP at the reference's prompts over all steps, relative to
            the largest |dP| of the step.
        drift: the same at the layout's own prompts, to which rounding has added up.
        prompts: largest difference of the prompts at the end, relative to the largest |P|.
        largest_share, ideal_share: backbone elements of the fullest rank, and of each rank if all
            weights were divided evenly over the ranks that share them, as parts of the whole.
        loading_peak: anonymous memory that the hungriest rank allocated while it loaded its part,
            at most at any time, as a part of the whole backbone's bytes. Weights stored in the
            precision asked for are mapped from disk, and then hardly any is allocated.
        seconds_per_step: wall time of the second half of the steps.
        megabytes_per_step: sent by a rank in a step, all of the network interface's bytes counted.
    """

    layout: str
    ranks: int
    loss: float
    gradient: float
    drift: float
    prompts: float
    largest_share: float
    ideal_share: float
    loading_peak: float
    seconds_per_step: float
    megabytes_per_step: float

    @classmethod
    def of(cls, one: dict[str, Any], other: dict[str, Any], sharing_ranks: int) -> "Comparison":
        """Compare the records of a single process and of a layout.

        Args:
            sharing_ranks: ranks that together hold one copy of the backbone.
        """
        same_prompts = other["at_given"] or other["gradients"]
        return cls(
            layout=other["layout"],
            ranks=len(other["local"]),
            loss=max(_differences(one["losses"], other["losses"])),
            gradient=max(_differences(one["gradients"], same_prompts)),
            drift=max(_differences(one["gradients"], other["gradients"])),
            prompts=_difference(one["prompts"], other["prompts"]),
            largest_share=max(other["local"]) / one["local"][0],
            ideal_share=1 / sharing_ranks,
            loading_peak=max(other["loading_bytes"]) / (one["local"][0] * one["element_size"]),
            seconds_per_step=other["seconds_per_step"],
            megabytes_per_step=other["bytes_per_step_and_rank"] / 1e6,
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max())


def _differences(one: Sequence[Tensor], other: Sequence[Tensor]) -> list[float]:
    if len(one) != len(other):
        raise ValueError(f"one layout trained {len(one)} steps, the other {len(other)}")
    return [_difference(a, b) for a, b in zip(one, other, strict=True)]


def table(rows: Sequence[Comparison]) -> str:
    """Markdown, one line a layout."""
    titles = (
        "layout",
        "ranks",
        "loss",
        "dP",
        "drift of dP",
        "of P",
        "fullest rank",
        "ideal",
        "loading peak",
        "s/step",
        "MB sent/step/rank",
    )
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in rows:
        lines.append(
            f"| {row.layout} | {row.ranks} | {row.loss:.0e} | {row.gradient:.0e} "
            f"| {row.drift:.0e} | {row.prompts:.0e} | {row.largest_share:.3f} "
            f"| {row.ideal_share:.3f} | {row.loading_peak:.2f} | {row.seconds_per_step:.2f} "
            f"| {row.megabytes_per_step:.2f} |"
        )
    return "\n".join(lines)


def load(path: str) -> dict[str, Any]:
    """What a worker kept."""
    return torch.load(path, weights_only=True)
