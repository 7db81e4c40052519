"""The waist with the frozen side somewhere else."""

from collections.abc import Collection
from functools import partial

import torch
from torch import Tensor

from ptune_scale.parallel.generation import Generated
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.prompt_function import PromptFunction, Question
from ptune_scale.parallel.remote.asked import values_of
from ptune_scale.parallel.remote.backbone import ServedBackbone
from ptune_scale.parallel.remote.parts import in_parts
from ptune_scale.parallel.remote.reply import decode_found, decode_losses, decode_written
from ptune_scale.parallel.remote.request import Encoded, ModelRequest
from ptune_scale.task.example import Batch
from ptune_scale.task.objective import Objective, cross_entropy


class ServedFunction(PromptFunction):
    """Losses, prompt gradients and answers, from whichever server answers.

    What is more than a server takes at once is asked in parts, one after another.

    There is no engine in this process, so nothing of the class above is set up but its place.
    """

    def __init__(self, backbone: ServedBackbone, mesh: Mesh) -> None:
        self.mesh, self.world = mesh, mesh.world
        self._servers = backbone.servers
        self._said = backbone.description

    def loss_and_gradient(
        self, batch: Batch, prompts: Tensor, objective: Objective = cross_entropy
    ) -> tuple[Tensor, Tensor]:
        losses, gradient = prompts.new_zeros(len(prompts)), torch.zeros_like(prompts)
        for part in self._parts(ModelRequest("loss", batch, prompts.detach(), objective)):
            body = self._encoded(part)
            decode = partial(decode_losses, prompts=part.prompts[body.tasks])
            found = self._servers.ask("/v1/loss", body, decode)
            losses[body.tasks] += found[0].to(prompts.device)
            gradient[body.tasks] += found[1].to(prompts.device)
        return losses, gradient

    def ask(
        self,
        batch: Batch,
        prompts: Tensor,
        question: Question,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        kind, found = values_of(question, batch.num_targets)[1], []
        for part in self._parts(ModelRequest("ask", batch, prompts, question)):
            decode = partial(decode_found, shape=(len(part.batch), *shape), dtype=kind)
            found.append(self._servers.ask("/v1/ask", self._encoded(part), decode))
        return torch.cat(found).to(dtype)

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
        written: list[Generated] = []
        for part in self._parts(asked):
            decode = partial(decode_written, count=len(part.batch))
            written += self._servers.ask("/v1/generate", self._encoded(part), decode)
        return written

    def _parts(self, request: ModelRequest) -> list[ModelRequest]:
        return in_parts(request, self._said.limits)

    def _encoded(self, request: ModelRequest) -> Encoded:
        return Encoded(request, self._said.identity)
