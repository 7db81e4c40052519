"""The product of training: prompt vectors without the encoder that made them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ptune_scale.backbone.quantized_linear import WeightBits
from ptune_scale.errors import UserError
from ptune_scale.prompt_file import read_prompts, write_prompts
from ptune_scale.template import Template

_FORMAT = "2"


@dataclass(frozen=True)
class PromptExport:
    """Prompts of R relations with S slots each, for one backbone.

    Attributes:
        prompts: (R, S, H) fp32, the prompt matrix P.
        relations: ids, in the order of P's rows.
        labels: a readable name of each relation.
        templates: where the slots stand, of each relation.
        model: the backbone as the user named it.
        fingerprint: identity of the backbone's weights.
        weight_bits: to which they were rounded in training; "full" for not at all.
    """

    prompts: Tensor
    relations: tuple[str, ...]
    labels: tuple[str, ...]
    templates: tuple[Template, ...]
    model: str
    fingerprint: str
    weight_bits: WeightBits = "full"

    def save(self, directory: Path) -> Path:
        """Write ``prompt.safetensors``; it replaces an older one in a single step."""
        about = {
            "relations": json.dumps(self.relations),
            "labels": json.dumps(self.labels),
            "templates": json.dumps([template.pattern for template in self.templates]),
            "slots": str(self.prompts.shape[1]),
            "model": self.model,
            "backbone_fingerprint": self.fingerprint,
            "weight_bits": self.weight_bits,
        }
        return write_prompts(directory, self.prompts, _FORMAT, about)

    @classmethod
    def load(cls, directory: Path) -> "PromptExport":
        """Read what ``save`` wrote.

        Raises:
            UserError: no file, a damaged one, or one of another format.
        """
        prompts, metadata = read_prompts(directory, (_FORMAT, "1"))
        try:
            relations = tuple(json.loads(metadata["relations"]))
            if metadata["format"] == "1":  # one template for all
                patterns = [metadata["template"]] * len(relations)
            else:
                patterns = json.loads(metadata["templates"])
            return cls(
                prompts,
                relations,
                tuple(json.loads(metadata["labels"])),
                tuple(Template.parse(pattern) for pattern in patterns),
                metadata["model"],
                metadata["backbone_fingerprint"],
                metadata.get("weight_bits", "full"),  # prompts of before say nothing
            )
        except (KeyError, json.JSONDecodeError) as error:
            raise UserError(f"prompt {directory}: its metadata is incomplete ({error})") from error

    def row(self, relation: str) -> int:
        """The row of a relation, by id or label, in any case.

        Raises:
            UserError: there is none; the message lists what there is.
        """
        names: Sequence[str] = [name.lower() for name in self.relations]
        labels: Sequence[str] = [name.lower() for name in self.labels]
        for known in (names, labels):
            if relation.lower() in known:
                return known.index(relation.lower())
        raise UserError(
            f"the prompt has no relation {relation!r}; it has {', '.join(self.relations)}"
        )
