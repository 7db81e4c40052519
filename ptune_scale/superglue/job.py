"""One task of a run, put together: what all methods share, and what each of them leaves behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.families import can_pack, context_length
from ptune_scale.data.facts import digest
from ptune_scale.errors import UserError
from ptune_scale.parallel import PromptFunction, StopSignal
from ptune_scale.progress import bar
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.predict import Predictions, Predictor
from ptune_scale.superglue.problem import SuperglueProblem
from ptune_scale.superglue.row_encoder import RowEncoder
from ptune_scale.superglue.task import Record, Task
from ptune_scale.superglue.trials import Trial, read_trial, write_trial


@dataclass
class TaskJob:
    """Everything a method needs for one task; built by ``superglue.assemble``.

    Attributes:
        train, dev, test: labelled records.
        test_split: the file that ``test`` was read from.
        unlabeled: records whose labels nobody looks at.
        function: the frozen backbone, in the layout that was chosen.
        output_dir: the task's own directory.
        identity: what results that are there already must agree on.
        notes: what a reader of the results has to know, in the order in which it was found.
    """

    config: SuperglueConfig
    task: Task
    train: list[Record]
    dev: list[Record]
    test: list[Record]
    test_split: str
    unlabeled: list[Record]
    backbone: Backbone
    function: PromptFunction
    stop: StopSignal
    output_dir: Path
    identity: dict[str, Any]
    flags: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.function.world.is_main

    @property
    def no_prompts(self) -> Tensor:
        """A prompt matrix without slots, (1, 0, H)."""
        return torch.zeros(1, 0, self.backbone.hidden_size)

    @property
    def max_length(self) -> int:
        """Most tokens of a row: as the configuration says, but no more than the model takes."""
        asked = self.config.max_length(self.task.name)
        return min(asked, context_length(self.backbone.config) or asked)

    def pattern(self) -> Pattern:
        """The pattern of tuned prompts."""
        name = self.task.name
        ask = self.config.ask
        return self.task.pattern(
            ask.pattern, layout=ask.layout, num_slots=self.config.num_slots(name)
        )

    def manual_patterns(self) -> dict[str, Pattern]:
        """The hand-written patterns that the model can use, by name; others are noted.

        Raises:
            UserError: it can use none.
        """
        usable: dict[str, Pattern] = {}
        left_out: dict[str, str] = {}
        for name, pattern in self.task.patterns.items():
            if not name.startswith("manual"):
                continue
            try:
                self.encoder(pattern)
            except UserError as error:
                left_out[name] = str(error)
            else:
                usable[name] = pattern
        if left_out:
            reason = next(iter(left_out.values()))
            self.note(f"left out: {', '.join(left_out)}; of the first: {reason}")
        if not usable:
            raise UserError(f"{self.task.name}: no manual pattern fits {self.backbone.name}")
        return usable

    def encoder(self, pattern: Pattern, beginning: Sequence[int] = ()) -> RowEncoder:
        """Encodes records by a pattern for this model.

        Args:
            beginning: token ids that stand in front of every record.

        Raises:
            UserError: the pattern does not fit the model.
        """
        return RowEncoder(
            self.task,
            pattern,
            self.backbone.tokens,
            self.max_length,
            seed=self.config.train.seed,
            beginning=beginning,
        )

    def problem(
        self, encoder: RowEncoder, function: PromptFunction | None = None
    ) -> SuperglueProblem:
        """What is trained for.

        Args:
            function: asked instead of the frozen backbone.
        """
        train = self.config.train
        predictor = Predictor(
            function or self.function,
            encoder,
            batch_size=train.eval_batch_size,
            batch_tokens=train.eval_batch_tokens,
            shared_tokens=self._packed_beginning(encoder) if function is None else 0,
            after_batch=lambda rows: self.stop.check(),
        )
        return SuperglueProblem(predictor, self.dev)

    def _packed_beginning(self, encoder: RowEncoder) -> int:
        """Tokens that rows begin with and that packing lets them share."""
        backbone, beginning = self.backbone, len(encoder.beginning)
        longest = beginning + self.max_length
        packs = (
            backbone.shortcuts.packing == "on"
            and not backbone.dropout
            and self.function.mesh.degrees.pipeline == 1
            and can_pack(backbone.config, longest)
        )
        return beginning if packs else 0

    def scored(self, problem: SuperglueProblem, prompts: Tensor, title: str) -> Trial:
        """Metrics on dev and test, and the test predictions, with a progress bar."""
        predictor, rows = problem.predictor, problem.encoder.group_size
        twice = self.test is not self.dev
        total = rows * (len(self.dev) + twice * len(self.test))
        with bar(f"{self.task.name}, {title}", total, "rows", shown=self.is_main) as progress:

            def after_batch(count: int) -> None:
                progress.update(min(count, total - progress.n))
                self.stop.check()

            before, predictor.after_batch = predictor.after_batch, after_batch
            problem.score([0], prompts)
            found = problem.predict(self.test, prompts) if twice else problem.last_found
            predictor.after_batch = before
        return {"dev": problem.last_scores, **self._as_trial(found)}

    def tested(self, problem: SuperglueProblem, prompts: Tensor) -> Trial:
        """Metrics on test, and the predictions."""
        return self._as_trial(problem.predict(self.test, prompts))

    def _as_trial(self, found: Predictions) -> Trial:
        trial: Trial = {
            "test": self.task.score(self.test, found.labels),
            "predictions": list(found.labels),
        }
        if found.scores is not None:
            trial["scores"] = found.scores.tolist()
        if found.texts:
            trial["texts"] = list(found.texts)
        return trial

    def note(self, text: str) -> None:
        """Tell the reader of the results, once."""
        if text not in self.notes:
            self.notes.append(text)

    def note_cut(self, encoder: RowEncoder, what: str) -> None:
        """Tell how many records are too long, of those that are scored or trained on."""
        for name, records in (("train", self.train), ("dev", self.dev), ("test", self.test)):
            rows = encoder.encode(records, "evaluate")
            if rows.cut_records:
                self.note(
                    f"{what}: {rows.cut_records} of {len(records)} {name} records were cut to "
                    f"{self.max_length} tokens ({rows.cut_tokens} tokens)"
                )

    def kept(self, name: str, settings: Any, run: Callable[[], Trial]) -> Trial:
        """A trial that is made once: what an interrupted run has finished is read again.

        Args:
            name: of its file.
            settings: what it depends on besides the job's identity.
        """
        path = self.output_dir / "trials" / f"{name}.json"
        key = digest([self.identity, repr(settings)])
        # What one rank reads decides for all: another node may not see the file yet.
        world = self.function.world
        trial = world.together(lambda: read_trial(path, key) if self.is_main else None)[0]
        if trial is None:
            # Whatever was done before in this process.
            world.seed_noise(self.config.train.seed, self.task.name, name)
            trial = run()
            world.on_main(lambda: write_trial(path, key, trial))
        return trial
