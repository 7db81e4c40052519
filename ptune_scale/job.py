"""A run put together: what all methods share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ptune_scale.config import LamaConfig
from ptune_scale.data.batch import Example
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.prepare import PreparedFacts
from ptune_scale.evaluate import all_ranks
from ptune_scale.parallel import PromptFunction, StopSignal
from ptune_scale.progress import bar
from ptune_scale.tokenization import Tokenization


@dataclass
class Job:
    """Everything a method needs; built by ``ptune_scale.assemble``.

    Attributes:
        facts: the relations, in the order of the prompt matrix' rows.
        train_examples, dev_examples: of each relation, under the template that is tuned.
        candidates: sets that answers are ranked among; the first is the one reported.
        function: the frozen side, in the layout that was chosen.
        identity, flags: what a checkpoint of this run records.
        resume_from: a checkpoint to go on from.
        training, throughput: filled in by methods that train.
    """

    config: LamaConfig
    facts: PreparedFacts
    train_examples: list[list[Example]]
    dev_examples: list[list[Example]]
    candidates: Candidates
    tokens: Tokenization
    function: PromptFunction
    stop: StopSignal
    output_dir: Path
    model_name: str
    fingerprint: str
    hidden_size: int
    embedding_std: float
    embedding_mean: Tensor
    identity: dict[str, Any]
    flags: dict[str, Any]
    resume_from: Path | None = None
    training: dict[str, Any] = field(default_factory=dict)
    throughput: dict[str, float] = field(default_factory=dict)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.function.world.is_main

    def rank(self, examples: list[Example], prompts: Tensor, description: str) -> Tensor:
        """Ranks of all examples' answers, (len(examples), K, C), with a progress bar.

        Raises:
            Stopped: the job was asked to stop.
        """
        with bar(description, len(examples), "facts", shown=self.is_main) as progress:

            def after_batch(rows: int) -> None:
                progress.update(rows)
                self.stop.check()

            return all_ranks(
                self.function,
                examples,
                prompts,
                self.candidates,
                batch_size=self.config.train.eval_batch_size,
                batch_tokens=self.config.train.eval_batch_tokens,
                pad=self.tokens.placeholder,
                after_batch=after_batch,
            )
