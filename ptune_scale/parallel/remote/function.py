"""The waist with the frozen side somewhere else."""

from collections.abc import Callable, Collection, Iterator
from functools import partial

import torch
from torch import Tensor

from ptune_scale.parallel.generation import Generated
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.prompt_function import PromptFunction, Question
from ptune_scale.parallel.remote.asked import values_of
from ptune_scale.parallel.remote.backbone import ServedBackbone
from ptune_scale.parallel.remote.client import Answer, LowerLimits
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
        self._limits = self._said.limits

    def loss_and_gradient(
        self, batch: Batch, prompts: Tensor, objective: Objective = cross_entropy
    ) -> tuple[Tensor, Tensor]:
        losses, gradient = prompts.new_zeros(len(prompts)), torch.zeros_like(prompts)
        request = ModelRequest("loss", batch, prompts.detach(), objective)

        def decode(part: ModelRequest, reply: bytes) -> tuple[list[int], Tensor, Tensor]:
            return part.tasks, *decode_losses(reply, part.prompts[part.tasks])

        for tasks, own_losses, own_gradient in self._answers(request, decode):
            losses[tasks] += own_losses.to(prompts.device)
            gradient[tasks] += own_gradient.to(prompts.device)
        return losses, gradient

    def ask(
        self,
        batch: Batch,
        prompts: Tensor,
        question: Question,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        kind = values_of(question, batch.num_targets)[1]

        def decode(part: ModelRequest, reply: bytes) -> Tensor:
            return decode_found(reply, (len(part.batch), *shape), kind)

        found = self._answers(ModelRequest("ask", batch, prompts, question), decode)
        return torch.cat(list(found)).to(dtype)

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
        written = self._answers(asked, lambda part, reply: decode_written(reply, len(part.batch)))
        return [text for texts in written for text in texts]

    def _answers(
        self, request: ModelRequest, decode: Callable[[ModelRequest, bytes], Answer]
    ) -> Iterator[Answer]:
        """What is answered to each part of a request, in their order.

        A server may take less than the one whose limits are known; there are more parts then. One
        that takes less than a single question is passed over, if there is another.
        """
        waiting, refusals = in_parts(request, self._limits), 0
        while waiting:
            part, *waiting = waiting
            body = Encoded(part, self._said.identity)
            try:
                found = self._servers.ask(f"/v1/{part.kind}", body, partial(decode, part))
            except LowerLimits as error:
                self._limits = self._limits.lowest(error.limits)
                if len(in_parts(part, self._limits)) == 1:
                    refusals += 1
                    if refusals >= len(self._servers.urls):
                        raise
                    self._servers.pass_over()
                again = [in_parts(each, self._limits) for each in (part, *waiting)]
                waiting = [smaller for parts in again for smaller in parts]
            else:
                refusals = 0
                yield found
