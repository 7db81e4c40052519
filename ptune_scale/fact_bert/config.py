"""What the making of a small BERT can be told."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ptune_scale.errors import UserError


def _flag(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class FactBertConfig:
    """the small BERT and what it is taught"""

    data_dir: str = _flag("embedded", "directory with LAMA facts, or 'embedded' for built-in ones")
    relations: str = _flag("all", "comma-separated relation ids, or 'all' that can be taught")
    on_bad_record: Literal["skip", "stop"] = _flag("stop", "what to do with an unreadable record")
    max_relations: int = _flag(12, "most relations to teach, in the order of the data, 0 for all")
    facts_per_relation: int = _flag(80, "most facts to teach of a relation; at least half are")
    untaught_per_relation: int = _flag(40, "most facts of a relation to hold back")
    max_per_object: int = _flag(8, "most facts of a relation with the same object, in either part")
    sentences_per_relation: int = _flag(1, "sentences in which each fact is taught")
    epochs: int = _flag(60, "passes over all sentences")
    batch_size: int = _flag(64, "most sentences in a step")
    lr: float = _flag(1.5e-3, "peak learning rate of AdamW; falls to 0 along a cosine")
    layers: int = _flag(3, "layers")
    hidden_size: int = _flag(192, "hidden size, a multiple of 32 (the size of a head)")
    vocab_size: int = _flag(3000, "word pieces to learn, before objects and letters are added")
    threads: int = _flag(1, "CPU threads; weights depend on it in the last bits")
    seed: int = _flag(34, "seed of the choice of facts, the weights and the masks")
    output_dir: str = _flag("", "a new directory for the model and its facts (required)")

    def __post_init__(self) -> None:
        """Check all values at once.

        Raises:
            UserError: names every value that cannot be.
        """
        least = {
            "max_relations": 0,
            "facts_per_relation": 4,
            "untaught_per_relation": 0,
            "max_per_object": 1,
            "sentences_per_relation": 1,
            "epochs": 1,
            "batch_size": 1,
            "layers": 1,
            "hidden_size": 32,
            "vocab_size": 1,
            "threads": 1,
        }
        wrong = [
            f"--{name} must be {minimum} or more, got {getattr(self, name)}"
            for name, minimum in least.items()
            if getattr(self, name) < minimum
        ]
        if self.hidden_size % 32:
            wrong.append(f"--hidden_size must be a multiple of 32, got {self.hidden_size}")
        if not 0 < self.lr < float("inf"):
            wrong.append(f"--lr must be a positive number, got {self.lr}")
        if wrong:
            raise UserError("; ".join(wrong))
