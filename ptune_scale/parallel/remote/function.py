"""The waist with the frozen side somewhere else."""

from collections.abc import Collection

import torch
from torch import Tensor

from ptune_scale.parallel.generation import Generated
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.prompt_function import PromptFunction, Question
from ptune_scale.parallel.remote.asked import values_of
from ptune_scale.parallel.remote.backbone import ServedBackbone
from ptune_scale.parallel.remote.reply import decode_found, decode_losses, decode_written
from ptune_scale.parallel.remote.request import Encoded, ModelRequest
from ptune_scale.task.example import Batch
from ptune_scale.task.objective import Objective, cross_entropy


class ServedFunction(PromptFunction):
    """Losses, prompt gradients and answers, from whichever server answers.

    There is no engine in this process, so nothing of the class above is set up but its place.
    """

    def __init__(self, backbone: ServedBackbone, mesh: Mesh) -> None:
        self.mesh, self.world = mesh, mesh.world
        self._servers = backbone.servers
        self._said = backbone.description

    def loss_and_gradient(
        self, batch: Batch, prompts: Tensor, objective: Objective = cross_entropy
    ) -> tuple[Tensor, Tensor]:
        body = Encoded(ModelRequest("loss", batch, prompts, objective), self._said.identity)
        tasks, part = body.tasks, prompts.detach()[body.tasks]
        found = self._servers.ask("/v1/loss", body, lambda reply: decode_losses(reply, part))
        losses, gradient = prompts.new_zeros(len(prompts)), torch.zeros_like(prompts)
        losses[tasks], gradient[tasks] = (each.to(prompts.device) for each in found)
        return losses, gradient

    def ask(
        self,
        batch: Batch,
        prompts: Tensor,
        question: Question,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        body = Encoded(ModelRequest("ask", batch, prompts, question), self._said.identity)
        whole, kind = (len(batch), *shape), values_of(question, batch.num_targets)[1]
        found = self._servers.ask("/v1/ask", body, lambda reply: decode_found(reply, whole, kind))
        return found.to(dtype)

    @property
    def has_cache(self) -> bool:
        return self._said.has_cache

    @property
    def kept_texts(self) -> dict[str, int]:
        """The servers' own affair."""
        return {}

    def generate(
        self, batch: Batch, prompts: Tensor, *, max_tokens: int, stop: Collection[int] = ()
    ) -> list[Generated]:
        asked = ModelRequest("generate", batch, prompts, None, max_tokens, tuple(stop))
        body = Encoded(asked, self._said.identity)
        count = len(batch)
        return self._servers.ask("/v1/generate", body, lambda reply: decode_written(reply, count))
