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
    """A Hugging Face causal or masked model in which nothing trains.

    The head runs at target positions only. To serve every architecture with its own head (bias,
    transform, soft-capping ...) unchanged, a hook between the model's body and its head replaces
    the hidden states (N, T, H) by those at the targets (N, K, H).

    Args:
        model: a model with a head whose body is ``model.base_model``.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
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

    def forward(self, batch: Batch, prompts: Tensor) -> Tensor:
        """Logits (N, K, V) in fp32; gradients reach ``prompts`` (R, S, H) only.

        A causal model needs no attention mask for padding on the right: nothing before a target
        can see it. A masked model gets one if there is padding.
        """
        with torch.no_grad():
            words = self.model.get_input_embeddings()(batch.ids)
        inputs = splice(words, prompts, batch.relations, batch.slots)
        self._targets = batch.targets
        try:
            logits = self.model(inputs_embeds=inputs, **self._extras(batch)).logits
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
