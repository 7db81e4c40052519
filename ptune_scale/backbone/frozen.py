"""The frozen forward pass: input ids and prompts in, logits at the targets out.

Shapes: N rows, T tokens, K targets in a row, V vocabulary, H embedding size, R relations, S slots.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ptune_scale.data.batch import Batch
from ptune_scale.splice import splice


class FrozenLM(nn.Module):
    """A Hugging Face causal or masked model, or one pipeline stage of it, in which nothing trains.

    The head runs at target positions only. To serve every architecture with its own head (bias,
    transform, soft-capping ...) unchanged, a hook between the model's body and its head replaces
    the hidden states (N, T, H) by those at the targets (N, K, H).

    Args:
        model: a model with a head whose body is ``model.base_model``; for a stage, a model whose
            other layers were taken out.
        is_first: this stage embeds ids and splices prompts; otherwise it is given hidden states.
        is_last: this stage has the head; otherwise it returns hidden states.
    """

    def __init__(
        self, model: PreTrainedModel, *, is_first: bool = True, is_last: bool = True
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.is_first = is_first
        self.is_last = is_last
        self._targets: Tensor | None = None
        model.base_model.register_forward_hook(self._keep_targets)

    def train(self, mode: bool = True) -> "FrozenLM":
        """Stay in eval mode: a frozen backbone has no use for dropout."""
        return super().train(False)

    def _keep_targets(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self._targets is None:
            return output
        hidden = output[0]
        index = self._targets.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        output["last_hidden_state"] = hidden.gather(1, index)
        return output

    def forward(
        self, batch: Batch, prompts: Tensor | None = None, hidden: Tensor | None = None
    ) -> Tensor:
        """From ids (or, on a later stage, hidden states) to logits (or hidden states).

        A causal model needs no attention mask for padding on the right: nothing before a target
        can see it. A masked model gets one if there is padding.

        Args:
            prompts: (R, S, H) the prompt matrix P, on the first stage; gradients reach it alone.
            hidden: (N, T, H) what the stage before returned, on any other.

        Returns:
            logits (N, K, V) in fp32 from the last stage, hidden states (N, T, H) from others.
        """
        if self.is_first:
            with torch.no_grad():
                words = self.model.get_input_embeddings()(batch.ids)
            hidden = splice(words, prompts, batch.relations, batch.slots)
        extras = self._extras(batch)
        if not self.is_last:
            return self.model.base_model(inputs_embeds=hidden, **extras)[0]
        self._targets = batch.targets
        try:
            logits = self.model(inputs_embeds=hidden, **extras).logits
        finally:
            self._targets = None
        return logits.float()

    def _extras(self, batch: Batch) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        if hasattr(self.model.config, "use_cache"):
            extras["use_cache"] = False
        if not is_causal(self.model) and batch.is_padded:
            positions = torch.arange(batch.ids.shape[1], device=batch.ids.device)
            extras["attention_mask"] = (positions < batch.lengths[:, None]).long()
        return extras


def is_causal(model: PreTrainedModel) -> bool:
    """Whether the model predicts the next token (as opposed to masked tokens)."""
    return "MaskedLM" not in type(model).__name__
