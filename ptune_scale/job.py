"""A run put together: what all methods share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptune_scale.backbone import Backbone
from ptune_scale.config import LamaConfig
from ptune_scale.data.batch import Example
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.prepare import PreparedFacts
from ptune_scale.evaluate import all_ranks
from ptune_scale.parallel import PromptFunction, StopSignal
from ptune_scale.progress import bar
from ptune_scale.prompt_setup import PromptSetup
from ptune_scale.tokenization import Tokenization


@dataclass
class Job:
    """Everything a method needs; built by ``ptune_scale.assemble``.

    Attributes:
        facts: the relations, in the order of the prompt matrix' rows.
        backbone: what is known of the frozen model, and ways to its weights.
        setups: what each method that trains prompts will train, by name.
        candidates: sets that answers are ranked among; the first is the one reported.
        function: the frozen side, in the layout that was chosen.
        identity, flags: what a checkpoint of this run records.
        resume_from: by method, a checkpoint to go on from.
        training, throughput: by method, filled in by those that train.
    """

    config: LamaConfig
    facts: PreparedFacts
    backbone: Backbone
    setups: dict[str, PromptSetup]
    candidates: Candidates
    tokens: Tokenization
    function: PromptFunction
    stop: StopSignal
    output_dir: Path
    identity: dict[str, Any]
    flags: dict[str, Any]
    resume_from: dict[str, Path] = field(default_factory=dict)
    training: dict[str, dict[str, Any]] = field(default_factory=dict)
    throughput: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def no_prompts(self) -> Tensor:
        """A prompt matrix without slots, (R, 0, H)."""
        return torch.zeros(len(self.facts.relations), 0, self.backbone.hidden_size)

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
