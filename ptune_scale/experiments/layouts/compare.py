"""Differences between what two layouts kept, and tables of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor


def _column(title: str, form: str) -> Any:
    return field(metadata={"title": title, "form": form})


@dataclass(frozen=True)
class Comparison:
    """One layout beside the reference, which ran in a single process.

    Attributes:
        loss: largest difference of a task's loss over all steps, relative to the largest loss.
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

    layout: str = _column("layout", "")
    ranks: int = _column("ranks", "")
    loss: float = _column("loss", ".0e")
    gradient: float = _column("dP", ".0e")
    drift: float = _column("drift of dP", ".0e")
    prompts: float = _column("of P", ".0e")
    largest_share: float = _column("fullest rank", ".3f")
    ideal_share: float = _column("ideal", ".3f")
    loading_peak: float = _column("loading peak", ".2f")
    seconds_per_step: float = _column("s/step", ".2f")
    megabytes_per_step: float = _column("MB sent/step/rank", ".2f")

    @classmethod
    def of(cls, one: dict[str, Any], other: dict[str, Any], sharing_ranks: int) -> "Comparison":
        """Compare the records of a single process and of a layout.

        Args:
            sharing_ranks: ranks that together hold one copy of the backbone.
        """
        return cls(
            layout=other["layout"],
            ranks=len(other["local"]),
            loss=_largest(one["losses"], other["losses"]),
            gradient=_largest(one["gradients"], other["at_given"] or other["gradients"]),
            drift=_largest(one["gradients"], other["gradients"]),
            prompts=_largest([one["prompts"]], [other["prompts"]]),
            largest_share=max(other["local"]) / one["local"][0],
            ideal_share=1 / sharing_ranks,
            loading_peak=max(other["loading_bytes"]) / (one["local"][0] * one["element_size"]),
            seconds_per_step=other["seconds_per_step"],
            megabytes_per_step=other["bytes_per_step_and_rank"] / 1e6,
        )


def _largest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest difference in any step, relative to the largest number of that step."""
    if len(one) != len(other):
        raise ValueError(f"one layout trained {len(one)} steps, the other {len(other)}")
    pairs = zip(one, other, strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def table(rows: Sequence[Comparison]) -> str:
    """Markdown, one line a layout."""
    columns = [(one.name, one.metadata) for one in fields(Comparison)]
    lines = [[meta["title"] for _, meta in columns]]
    lines += [[format(getattr(row, name), meta["form"]) for name, meta in columns] for row in rows]
    text = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([text[0], "|" + "---|" * len(columns), *text[1:]])


def load(path: str) -> dict[str, Any]:
    """What a worker kept."""
    return torch.load(path, weights_only=True)
