"""What is asked without training: the manual prompt in its readings, and no model at all."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.methods.demonstrations import nearest
from ptune_scale.lama.methods.wordings import (
    LamaMethod,
    Worded,
    incontext,
    incontext_retrieved,
    manual,
)
from ptune_scale.lama.objects import Objects
from ptune_scale.progress import bar
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.answers.ranked import Ranked, RankedPanel
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import Example
from ptune_scale.task.record import Record
from ptune_scale.task.task import Task
from ptune_scale.task.tokenization import Tokenization
from ptune_scale.tune.job import MethodResult

# A subject with the cosine 0.5 outweighs one with 0.4 almost three times.
_SHARPNESS = 10.0


def run_majority(job: LamaJob) -> list[MethodResult]:
    """Control: rank a relation's objects by how often they occur in training; no model is asked."""
    predictions = {task.name: _commonest(task, job.backbone.tokens) for task in job.tasks}
    described = "the relation's commonest training object, whatever the subject"
    return [MethodResult("majority", described, predictions, control=True)]


MAJORITY = LamaMethod("majority", run_majority, "control: the commonest training object")


def _commonest(task: Task, tokens: Tokenization) -> list[Prediction]:
    learned = (*task.splits.train, *task.splits.dev)
    elected = _Elected.by(Counter(record.answer or "" for record in learned), task, tokens)
    return [elected.prediction(task, tokens, record) for record in task.splits.test]


def _most_alike(task: Task, tokens: Tokenization) -> list[Prediction]:
    """Objects ranked by how alike the subjects of their facts are, none of which counts for much
    beside one that is nearly the same."""
    train, test = task.splits.train, task.splits.test
    found = []
    for record, (places, alike) in zip(test, nearest(train, test), strict=True):
        votes: defaultdict[str, float] = defaultdict(float)
        for place in places:
            votes[train[place].answer or ""] += math.exp(_SHARPNESS * alike[place])
        found.append(_Elected.by(votes, task, tokens).prediction(task, tokens, record))
    return found


@dataclass(frozen=True)
class _Elected:
    """A relation's objects in the order of their votes; ties go to the lower token.

    Attributes:
        best: the first of them, in a job on objects of any length of all.
        share: of the votes.
        places: of objects of one token, from 1.
    """

    best: str
    share: float
    places: Mapping[str, int]

    @classmethod
    def by(cls, votes: Mapping[str, float], task: Task, tokens: Tokenization) -> "_Elected":
        single = {name: token for name in votes if (token := tokens.word_token(name)) is not None}
        order = sorted(single, key=lambda name: (-votes[name], single[name]))
        is_single = isinstance(task.wording.answer, Ranked)
        best = order[0] if is_single else max(votes, key=lambda name: votes[name])
        places = {name: place for place, name in enumerate(order, start=1)}
        return cls(best, votes[best] / sum(votes.values()), places)

    def prediction(self, task: Task, tokens: Tokenization, record: Record) -> Prediction:
        """What a test fact is answered."""
        answer, expected = task.wording.answer, record.answer or ""
        ranked = answer.ranked if isinstance(answer, Objects) else answer
        assert isinstance(ranked, Ranked)
        ranks = None
        if tokens.word_token(expected) is not None:
            place = self.places.get(expected, tokens.vocab_size + 1)
            ranks = dict.fromkeys(ranked.sets, place)
        return Prediction(self.best, self.share, ranks=ranks)


def run_manual(job: LamaJob) -> list[MethodResult]:
    """Score the manual prompt, a causal one in both readings, and with typed answers as a control.

    "[X] was born in [Y] ." cut at [Y] ends in a space. Without it the model is read after "in";
    with it, after a token that is only a space, which a byte-pair model hardly ever saw there.
    The first reading is the one reported as ``manual``; the second, that of the published code,
    stands beside it as ``manual_trailing_space``. One forward pass gives all of them.
    """
    tokens = job.backbone.tokens
    asked = job.asked([manual(task, job.config, tokens) for task in job.tasks])
    if job.config.data.objects == "all":
        described = "manual prompt, read after its last word; phrases end at a punctuation mark"
        predictions = job.answers(asked, job.no_prompts, "manual")
        return [MethodResult("manual", described, predictions)]
    rows = [_row(task, place) for task in asked for place in range(len(task.test))]
    both = all(len(row.targets) == 2 for row in rows)
    panel = RankedPanel({task.index: task.bound for task in asked})  # type: ignore[misc]
    first = panel.candidates.names[0]
    with bar("manual", len(rows), "facts", shown=job.is_main) as progress:
        asker = job.problem(asked).asker

        def after_batch(count: int) -> None:
            progress.update(count)
            job.stop.check()

        asker.after_batch = after_batch
        readings = [(0, first), (0, "relation"), (1, first)][: 2 + both]
        plain, typed, *spaced = panel.ranked(asker, rows, readings)
    return [
        MethodResult("manual", "manual prompt, read after its last word", _by_task(asked, plain)),
        MethodResult(
            "manual_train_objects",
            "manual prompt, answers only among the relation's training objects",
            _by_task(asked, [_typed(each) for each in typed]),
            control=True,
        ),
        *(
            MethodResult(
                "manual_trailing_space",
                "manual prompt, read after a space token behind its last word",
                _by_task(asked, each),
                control=True,
            )
            for each in spaced
        ),
    ]


MANUAL = LamaMethod("manual", run_manual, "the hand-written prompt", worded=manual)


def run_incontext(job: LamaJob) -> list[MethodResult]:
    """Score the manual prompt behind training facts in its own words; nothing is trained."""
    count = job.config.ask.num_fixed
    return [_shown(job, "incontext", incontext, f"manual prompt behind {count} training facts")]


INCONTEXT = LamaMethod(
    "incontext",
    run_incontext,
    "the hand-written prompt behind training facts",
    worded=incontext,
    shows_facts=True,
)


def run_incontext_retrieved(job: LamaJob) -> list[MethodResult]:
    """The same behind the facts most like each question, and their own vote as a control."""
    count = job.config.ask.num_retrieved
    described = f"manual prompt behind the {count} training facts whose subjects are most alike"
    vote = {task.name: _most_alike(task, job.backbone.tokens) for task in job.tasks}
    voted = "the objects of the training facts most alike, no model asked"
    return [
        _shown(job, "incontext_retrieved", incontext_retrieved, described),
        MethodResult("nearest_facts", voted, vote, control=True),
    ]


INCONTEXT_RETRIEVED = LamaMethod(
    "incontext_retrieved",
    run_incontext_retrieved,
    "the hand-written prompt behind facts like the question",
    worded=incontext_retrieved,
    shows_facts=True,
)


def _shown(job: LamaJob, name: str, worded: Worded, described: str) -> MethodResult:
    """What is answered without training."""
    asked = job.asked([worded(task, job.config, job.backbone.tokens) for task in job.tasks])
    return MethodResult(name, described, job.answers(asked, job.no_prompts, name))


def _row(task: AskedTask, place: int) -> Example:
    """A test fact's row, with both readings as targets where the tokenizer tells them apart."""
    question = task.test[place]
    [row] = question.rows
    if task.filler.tokens.kind == "masked":
        return row
    parts, _ = task.filler.fill(question.record, trailing_space=True)
    spaced = task.filler.join(parts, row.answers)
    if spaced.ids[:-1] != row.ids:
        return row
    targets = (*row.targets, *spaced.targets)
    return Example(row.task, spaced.ids, spaced.slots, targets, row.answers * 2)


def _typed(found: Prediction) -> Prediction:
    """A prediction among the relation's training objects, whatever set it is ranked among."""
    ranks = found.ranks or {}
    return Prediction(
        found.answer, found.score, ranks=dict.fromkeys(ranks, ranks.get("relation", 0))
    )


def _by_task(asked: list[AskedTask], found: list[Prediction]) -> dict[str, list[Prediction]]:
    """Predictions of all test facts, by relation."""
    rest = iter(found)
    return {task.task.name: [next(rest) for _ in task.test] for task in asked}
