"""A shard of the word embeddings that writes prompts among its words, before the ranks add up.

Shapes: N rows, T tokens, H embedding size.
"""

from fairscale.nn.model_parallel.initialize import get_model_parallel_rank
from fairscale.nn.model_parallel.layers import VocabParallelEmbedding
from fairscale.nn.model_parallel.mappings import reduce_from_model_parallel_region
from torch import Tensor, nn

from ptune_scale.backbone.splicing_embedding import SplicingEmbedding
from ptune_scale.splice import embed_and_splice


class EmbeddingShard(SplicingEmbedding, VocabParallelEmbedding):
    """fairscale's vocabulary-parallel embedding; what it returns is the same on all its ranks.

    The first rank writes the prompts: written by each they would be counted once per rank. So dP
    arises on the first rank, and is zero on the others.
    """

    weight: nn.Parameter
    vocab_start_index: int
    vocab_end_index: int

    def forward(
        self,
        ids: Tensor,
        prompts: Tensor | None = None,
        tasks: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        if prompts is None or tasks is None or slots is None:
            return VocabParallelEmbedding.forward(self, ids)
        mine = embed_and_splice(
            self.weight,
            ids,
            prompts,
            tasks,
            slots,
            shard=(self.vocab_start_index, self.vocab_end_index),
            writes_prompts=get_model_parallel_rank() == 0,
        )
        return reduce_from_model_parallel_region(mine)
