"""Questions to a frozen model through a tuned prompt."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.data.batch import Example, collate
from ptune_scale.errors import UserError
from ptune_scale.export import PromptExport
from ptune_scale.parallel import single


@dataclass(frozen=True, slots=True)
class Answer:
    """A word and its probability over the model's whole vocabulary."""

    text: str
    probability: float


class TunedPrompt:
    """An exported prompt together with the backbone that it was trained for.

    Raises:
        UserError: the backbone is not the one that the prompt was trained with.
    """

    def __init__(self, export: PromptExport, backbone: Backbone) -> None:
        if backbone.fingerprint != export.fingerprint:
            raise UserError(
                f"the prompt was trained with another model than {backbone.name} "
                f"(fingerprint {export.fingerprint[:12]}..., here {backbone.fingerprint[:12]}...)"
            )
        self.export = export
        self.backbone = backbone
        self._function = single(backbone.lm)

    def answer(self, subject: str, relation: str, k: int = 5) -> list[Answer]:
        """The k likeliest answers, best first.

        Args:
            relation: id or label of one of the prompt's relations.

        Raises:
            UserError: the prompt has no such relation, or the subject is empty.
        """
        if not subject.strip():
            raise UserError("the subject is empty")
        row = self.export.row(relation)
        tokens = self.backbone.tokens
        cloze = self.export.templates[row].render(subject.strip(), tokens)
        example = Example(row, cloze.ids, cloze.slots, (cloze.target,), label=0)
        batch = collate([example], tokens.placeholder)
        probabilities, ids = self._function.top(batch, self.export.prompts, k)
        return [
            Answer(tokens.text(int(token)), float(probability))
            for probability, token in zip(probabilities[0, 0], ids[0, 0], strict=True)
        ]


def load_prompt(
    directory: str | Path, *, model: str | None = None, dtype: torch.dtype = torch.float32
) -> TunedPrompt:
    """Load an exported prompt and its backbone.

    Args:
        directory: the ``prompt`` folder of a run's output directory.
        model: where the backbone is now, if not where training found it.

    Raises:
        UserError: prompt or backbone cannot be read, or they do not belong together.
    """
    export = PromptExport.load(Path(directory))
    backbone = load_backbone(model or export.model, dtype=dtype, weight_bits=export.weight_bits)
    return TunedPrompt(export, backbone)
