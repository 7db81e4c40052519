"""A word embedding that writes prompts among the words it looks up, in one pass.

It does so inside of its ``forward``: where its weight is spread over ranks and whole for that time
alone (ZeRO-3), the hooks around ``forward`` have gathered it.

Shapes: N rows, T tokens, R tasks, S slots, V vocabulary, H embedding size.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ptune_scale.splice import embed_and_splice


class SplicingEmbedding(nn.Module):
    """What ``frozen`` may give prompts to; without them it is the word embedding that it was."""

    @abstractmethod
    def forward(
        self,
        ids: Tensor,
        prompts: Tensor | None = None,
        tasks: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """Words (N, T, H), with prompts in their slots where they are given.

        Args:
            ids: (N, T) int64.
            prompts, tasks, slots: see ``splice.embed_and_splice``.
        """


class WholeEmbedding(SplicingEmbedding, nn.Embedding):
    """PyTorch's word embedding (V, H)."""

    def forward(
        self,
        ids: Tensor,
        prompts: Tensor | None = None,
        tasks: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        if prompts is None or tasks is None or slots is None:
            return nn.Embedding.forward(self, ids)
        return embed_and_splice(self.weight, ids, prompts, tasks, slots)


def replace_embedding(model: PreTrainedModel) -> None:
    """Let a model's word embedding splice, with the same weight; one that does more is left alone.

    Nothing is done for a stage of a model that has none.
    """
    plain = model.get_input_embeddings()
    if type(plain) is nn.Embedding:
        with torch.device("meta"):
            new = WholeEmbedding(plain.num_embeddings, plain.embedding_dim, plain.padding_idx)
        new.weight = plain.weight
        model.set_input_embeddings(new)
