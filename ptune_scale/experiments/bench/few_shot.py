"""What PEFT's prompt tuning answers on SuperGLUE's few records, after so much processor time.

Its vectors, as many as in its guide, stand in front of the text of our pattern, from which the
slots are taken out, and begin as words of the vocabulary. It gets our dtype, attention spelled out,
which is the faster one for rows as short as these, logits at the targets alone, and a rate that
falls to 0. What is minimized, how answers are read, which step is kept and what is scored are those
of ``superglue.py``; looking at dev takes nothing off its time.

Shapes: N rows, K targets in a row, V vocabulary, S vectors, H embedding size.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.experiments.bench.reference_way import load_model, padded
from ptune_scale.flags import names_in
from ptune_scale.parallel import generation
from ptune_scale.parallel.vocabulary import WholeVocabulary
from ptune_scale.progress import bar
from ptune_scale.superglue.check import ReadTask, read_tasks
from ptune_scale.superglue.config import RecordsConfig, SuperglueConfig
from ptune_scale.superglue.job import NAMES
from ptune_scale.task.answers.answer import Question
from ptune_scale.task.ask import Asker
from ptune_scale.task.asked import AnswerLogProbabilities, Ranks, Top
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_SLOT, Batch, Example
from ptune_scale.task.metrics import find_metric
from ptune_scale.train.order import TaskOrder
from ptune_scale.train.selection import DevScore, Selection

NUM_VECTORS = 8
"""S, as in PEFT's guide to prompt tuning of causal models."""

_BATCH_SIZE = 8
_LOOKS = 12
"""Evaluations on dev, evenly over the time."""


def few_shot_tasks(config: BenchSections) -> list[ReadTask]:
    """The tasks that were asked for.

    Raises:
        UserError: one cannot be read, or has nothing to learn from.
    """
    data = RecordsConfig(data_dir=config.few_shot.few_shot, tasks=config.few_shot.tasks)
    found = read_tasks(SuperglueConfig(data=data))
    for read in found:
        if not read.task.splits.learned:
            raise UserError(f"{read.task.name}: no training record has an answer to learn")
    return found


def measure_few_shot(case: Case) -> Iterator[dict[str, Any]]:
    """Of each task, learning rate and seed, metrics on dev and test.

    Yields:
        ``task``, ``rate``, ``seed``, ``records`` trained on, ``cpu_seconds`` of training, and of
        the step that was best on dev ``dev`` and ``test``, by metric, and ``decisive``, the dev
        metrics that it was chosen by.
    """
    asked = case.config.few_shot
    tasks, limit = few_shot_tasks(case.config), context_length(case.backbone.config)
    model = load_model(case, case.dtype, "eager")
    rates = [float(rate) for rate in names_in(asked.prompt_rates)]
    seconds = case.config.bench.minutes * 60 / len(tasks)
    total = len(tasks) * len(rates) * asked.repetitions
    with bar("peft, few-shot", total, "trainings", shown=True) as done:
        for read in tasks:
            room = None if limit is None else limit - NUM_VECTORS
            task = AskedTask(read.task, case.backbone.tokens, 0, context_length=room)
            for rate in rates:
                for seed in range(case.config.data.seed, case.config.data.seed + asked.repetitions):
                    side = PeftPromptTuning(case, model, rate, seed)
                    found = _trained(side, task, read, seed, seconds)
                    done.update()
                    yield {"task": task.task.name, "rate": rate, "seed": seed, **found}


def _trained(
    side: "PeftPromptTuning", task: AskedTask, read: ReadTask, seed: int, seconds: float
) -> dict[str, Any]:
    """Train for so much processor time, and score the step that is best on dev."""
    panels, asker = Panels([task]), Asker(side, torch.empty(0), batch_size=_BATCH_SIZE)
    order = TaskOrder(task.task.name, task.learn, _BATCH_SIZE, seed)
    kept = Selection((1, *side.prompt.shape), patience=0, rule="reference_strict")
    visit = records = looks = 0
    spent, dev, best = 0.0, {}, {}
    while spent < seconds:
        questions = order.chunk(visit)
        started = time.process_time()
        side.step(panels.batches(questions), share_left=1 - spent / seconds)
        spent += time.process_time() - started
        visit, records = visit + 1, records + len(questions)
        if spent >= seconds * (looks + 1) / _LOOKS:
            looks = int(spent * _LOOKS / seconds)
            dev = _scored(panels, asker, task, task.dev)
            score = DevScore(_decisive(read, dev), len(task.dev))
            if kept.record(0, score, side.prompt.detach(), visit):
                best = dev
    side.take_back(kept.prompts[0])
    same = task.task.splits.test is task.task.splits.dev
    test = best if same else _scored(panels, asker, task, task.test)
    decisive = _decisive(read, best)
    return {
        "records": records,
        "cpu_seconds": spent,
        "decisive": decisive,
        "dev": best,
        "test": test,
    }


def _decisive(read: ReadTask, metrics: Mapping[str, float]) -> tuple[float, ...]:
    """The metrics that a step is chosen by."""
    return tuple(metrics[NAMES.get(name, name)] for name in read.task.select_on)


def _scored(
    panels: Panels, asker: Asker, task: AskedTask, questions: Sequence[Question]
) -> dict[str, float]:
    outcomes = task.outcomes(questions, panels.predict(asker, questions))
    return {
        NAMES.get(name, name): find_metric(name).compute(outcomes) for name in task.task.metrics
    }


class PeftPromptTuning:
    """A prompt of PEFT's and its frozen model, asked as a frozen side of ours is (``task.ask``).

    The prompt matrix that those who ask hand over is not looked at.

    Attributes:
        prompt: (S, H), what is trained.
    """

    def __init__(self, case: Case, model: Any, rate: float, seed: int) -> None:
        from peft import PromptTuningConfig, PromptTuningInit, get_peft_model

        torch.manual_seed(seed)
        config = PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=NUM_VECTORS,
            prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
        )
        self._case = case
        self._vocabulary = WholeVocabulary()
        self._model = get_peft_model(model, config)
        [self.prompt] = [p for p in self._model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW([self.prompt], lr=rate)
        self._rate = rate

    def take_back(self, prompt: Tensor) -> None:
        """Go back to vectors (S, H) of an earlier step."""
        with torch.no_grad():
            self.prompt.copy_(prompt)

    def step(
        self, batches: Sequence[tuple[Batch, Callable[..., Tensor]]], share_left: float
    ) -> None:
        """One update, at that share of the learning rate."""
        self._model.train()
        for batch, objective in batches:
            losses = objective(self._vocabulary, self._logits(batch), batch)
            (losses * batch.shares).sum().backward()
        self._optimizer.param_groups[0]["lr"] = share_left * self._rate
        self._optimizer.step()
        self._optimizer.zero_grad()

    @torch.no_grad()
    def ask(
        self,
        batch: Batch,
        prompts: Tensor,
        question: Callable[[Any, Tensor, Batch], Tensor],
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        self._model.eval()
        return question(self._vocabulary, self._logits(batch), batch).to(dtype)

    def log_probabilities(self, batch: Batch, prompts: Tensor) -> Tensor:
        return self.ask(batch, prompts, AnswerLogProbabilities(), ())

    def top(self, batch: Batch, prompts: Tensor, k: int) -> tuple[Tensor, Tensor]:
        best = self.ask(batch, prompts, Top(k), (), torch.float64)
        return best[..., 0].float(), best[..., 1].long()

    def ranks(self, batch: Batch, prompts: Tensor, candidates: Candidates) -> Tensor:
        return self.ask(batch, prompts, Ranks(candidates), (), torch.int64)

    def generate(
        self, batch: Batch, prompts: Tensor, *, max_tokens: int, stop: Collection[int] = ()
    ) -> list[generation.Generated]:
        drafts = generation.begin(batch.examples, self._case.backbone.config, max_tokens, stop)
        generation.write_again(batch.examples, drafts, lambda rows: self.top(rows, prompts, 1))
        return [draft.done() for draft in drafts]

    def _logits(self, batch: Batch) -> Tensor:
        """(N, K, V), at the targets."""
        rows = [_without_slots(row) for row in batch.examples]
        ids = padded([list(row.ids) for row in rows], 0, self._case)
        mask = padded([[1] * row.num_tokens for row in rows], 0, self._case)
        targets = replace(batch, examples=tuple(rows)).targets + NUM_VECTORS
        return self._model(input_ids=ids, attention_mask=mask, logits_to_keep=targets).logits


def _without_slots(row: Example) -> Example:
    kept = [place for place, slot in enumerate(row.slots) if slot == NO_SLOT]
    # A target is where the answer's predecessor stands: a slot there leaves it to the text before.
    targets = tuple(sum(place <= target for place in kept) - 1 for target in row.targets)
    return replace(
        row,
        ids=tuple(row.ids[place] for place in kept),
        slots=(NO_SLOT,) * len(kept),
        targets=targets,
    )
