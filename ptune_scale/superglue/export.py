"""A tuned prompt of a SuperGLUE task, without the encoder that made it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import single
from ptune_scale.prompt_file import read_prompts, write_prompts
from ptune_scale.superglue.pattern import Layout
from ptune_scale.superglue.predict import Predictions, Predictor
from ptune_scale.superglue.question import questions_of
from ptune_scale.superglue.row_encoder import RowEncoder
from ptune_scale.superglue.task import Record
from ptune_scale.superglue.tasks import find_task

_FORMAT = "superglue-1"


@dataclass(frozen=True)
class TaskPrompt:
    """The prompt of one task for one backbone.

    Attributes:
        prompts: (1, S, H) fp32.
        task, pattern, layout, num_slots: what ``Task.pattern`` makes the pattern of.
        max_length: most tokens of a row.
        model, fingerprint: the backbone as the user named it, and the identity of its weights.
    """

    prompts: Tensor
    task: str
    pattern: str
    layout: Layout
    num_slots: int | None
    max_length: int
    model: str
    fingerprint: str

    def save(self, directory: Path) -> Path:
        """Write ``prompt.safetensors``; it replaces an older one in a single step."""
        about = {k: v for k, v in vars(self).items() if k != "prompts"}
        return write_prompts(directory, self.prompts, _FORMAT, {"about": json.dumps(about)})

    @classmethod
    def load(cls, directory: Path) -> "TaskPrompt":
        """Read what ``save`` wrote.

        Raises:
            UserError: no file, a damaged one, or one of another format.
        """
        prompts, metadata = read_prompts(directory, (_FORMAT,))
        try:
            return cls(prompts, **json.loads(metadata["about"]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(f"prompt {directory}: its metadata is incomplete ({error})") from error

    def predict(self, records: Sequence[Record], backbone: Backbone) -> Predictions:
        """Answer records with the backbone that the prompt was trained for, in one process.

        Raises:
            UserError: it is another backbone.
        """
        if backbone.fingerprint != self.fingerprint:
            raise UserError(
                f"the prompt was trained with another model than {backbone.name} "
                f"(fingerprint {self.fingerprint[:12]}..., here {backbone.fingerprint[:12]}...)"
            )
        task = find_task(self.task)
        pattern = task.pattern(self.pattern, layout=self.layout, num_slots=self.num_slots)
        encoder = RowEncoder(task, pattern, backbone.tokens, self.max_length)
        questions = questions_of(encoder.encode(records, "evaluate"))
        with torch.no_grad():
            predictor = Predictor(single(backbone.lm), encoder, batch_size=32, batch_tokens=8192)
            return predictor.predict(records, questions, self.prompts)
