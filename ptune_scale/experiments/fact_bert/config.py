"""What the making of a small BERT can be told."""

from dataclasses import dataclass
from typing import Literal

from ptune_scale.flags import check_flags, flag


@dataclass(frozen=True, kw_only=True)
class FactBertConfig:
    """the small BERT and what it is taught"""

    data_dir: str = flag("embedded", "directory with LAMA facts, or 'embedded' for built-in ones")
    relations: str = flag("all", "comma-separated relation ids, or 'all' that can be taught")
    on_bad_record: Literal["skip", "stop"] = flag("stop", "what to do with an unreadable record")
    max_relations: int = flag(
        12, "most relations to teach, in the order of the data, 0 for all", at_least=0
    )
    facts_per_relation: int = flag(
        80, "most facts to teach of a relation; at least half are", at_least=4
    )
    untaught_per_relation: int = flag(40, "most facts of a relation to hold back", at_least=0)
    max_per_object: int = flag(
        8, "most facts of a relation with the same object, in either part", at_least=1
    )
    sentences_per_relation: int = flag(1, "sentences in which each fact is taught", at_least=1)
    epochs: int = flag(60, "passes over all sentences", at_least=1)
    batch_size: int = flag(64, "most sentences in a step", at_least=1)
    lr: float = flag(
        1.5e-3, "peak learning rate of AdamW; falls to 0 along a cosine", positive=True
    )
    layers: int = flag(3, "layers", at_least=1)
    hidden_size: int = flag(192, "hidden size, a multiple of 32 (the size of a head)", at_least=32)
    vocab_size: int = flag(
        3000, "word pieces to learn, before objects and letters are added", at_least=1
    )
    threads: int = flag(1, "CPU threads; weights depend on it in the last bits", at_least=1)
    seed: int = flag(34, "seed of the choice of facts, the weights and the masks")
    output_dir: str = flag("", "a new directory for the model and its facts (required)")

    def __post_init__(self) -> None:
        """Check all values at once.

        Raises:
            UserError: names every value that cannot be.
        """
        is_odd = self.hidden_size % 32
        size = f"--hidden_size must be a multiple of 32, got {self.hidden_size}"
        check_flags([self], [size] if is_odd else [])
