"""Several prompts of a relation asked together; those with slots are trained side by side.

What a word scores is the weighted mean of its log-probabilities (see mixture.py), less a share of
what it gets whoever the subject is: prompts say which objects are common, and that hides what the
model knows of a subject (Zhao et al. 2021, "Calibrate Before Use"; Xu et al. 2024,
arXiv:2403.09963). Weights and share are chosen on dev.

Shapes: R relations, K prompts of each, S slots, H embedding size, V vocabulary.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.methods.mixture import PromptMixture, answerable, fit_weights
from ptune_scale.lama.methods.wordings import LamaMethod, members
from ptune_scale.progress import bar
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.answers.ranked import RankedPanel
from ptune_scale.task.task import Task
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.prompts import train_prompts

NAME = "ptuning_ensemble"

_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)

# Keeps one or two dev facts from putting all weight on one prompt.
_PRIOR_FACTS = 0.25


@dataclass(frozen=True)
class _Fitted:
    """What was found out about a relation's prompts on dev.

    Attributes:
        weights: (K,), adding to 1.
        without_subject: (V,), the weighted score of each word, averaged over subjects.
        right: of each of ``_SHARES``, how many facts are answered.
    """

    weights: Tensor
    without_subject: Tensor
    right: Tensor


def run(job: LamaJob) -> list[MethodResult]:
    """Train (or go on training), export, and score the prompts together and one by one.

    Raises:
        Stopped: the job was asked to stop.
        UserError: the checkpoint is of another run.
    """
    return _Method(job).run()


ENSEMBLE = LamaMethod(
    NAME,
    run,
    "several prompts together",
    trains_prompts=True,
    can_be_served=False,
    takes_phrases=False,
    shows_facts=True,
)


class _Method:
    def __init__(self, job: LamaJob) -> None:
        self.job = job
        self.names = list(members(job.config))
        of_relation = [_in_each_wording(task, job) for task in job.tasks]
        # Rows of P are those with slots; those without stand behind them.
        tasks = sorted(itertools.chain(*of_relation), key=lambda task: not _slots(task))
        asked = {task.task.name: task for task in replace(job, tasks=tasks).asked()}
        self.trained = [task for task in asked.values() if task.num_slots]
        self.asked = [[asked[task.name] for task in tasks] for tasks in of_relation]

    def run(self) -> list[MethodResult]:
        prompts = self._train()
        fitted = [_fit(self.job, mixture) for mixture in self._mixtures(prompts, "dev")]
        right = torch.stack([each.right for each in fitted]).sum(0)
        share = _SHARES[int(right.argmax())]
        answers: list[dict[str, list[Prediction]]] = [{} for _ in range(len(self.names) + 2)]
        for mixture, each in zip(self._mixtures(prompts, "test"), fitted, strict=True):
            task = self.job.tasks[mixture.relation]
            weights = torch.stack([each.weights, each.weights, *torch.eye(len(self.names))])
            offsets = torch.zeros(len(weights), len(each.without_subject))
            offsets[0] = share * each.without_subject
            found = mixture.predict(task.splits.test, weights, offsets)
            for answer, predictions in zip(answers, found, strict=True):
                answer[task.name] = predictions
        together = f"{', '.join(self.names)} together, weighted on dev"
        described = {
            NAME: f"{together}, less {share:g} of a word's score whoever the subject is",
            f"{NAME}_weighted": together,
            **{f"{NAME}_{name}": f"of these {name} alone" for name in self.names},
        }
        shown = {task.name: self._shares(f) for task, f in zip(self.job.tasks, fitted, strict=True)}
        return [
            MethodResult(name, text, found, wordings=shown if name == NAME else {})
            for (name, text), found in zip(described.items(), answers, strict=True)
        ]

    def _train(self) -> Tensor:
        """P of all prompts, (R * K, S, H); rows without slots are zero."""
        job = self.job
        trained = train_prompts(
            job,
            NAME,
            self.trained,
            directory=job.output / NAME,
            resumed_from=job.resume_from.get(NAME),
        )
        job.training[NAME] = trained.info
        rest = len(job.tasks) * len(self.names) - len(self.trained)
        return torch.cat([trained.prompts, torch.zeros(rest, *trained.prompts.shape[1:])])

    def _mixtures(self, prompts: Tensor, title: str) -> Iterator[PromptMixture]:
        """Of each relation, its prompts to be asked together."""
        job = self.job
        panel = RankedPanel({task.index: task.bound for task in job.asked()})  # type: ignore[misc]
        with bar(f"{NAME}, {title}", len(self.asked), "relations", shown=job.is_main) as progress:
            for relation, asked in enumerate(self.asked):
                asker = job.problem(asked).asker
                asker.prompts = prompts
                yield PromptMixture(asked, asker, panel, relation)
                progress.update(1)

    def _shares(self, fitted: _Fitted) -> str:
        """The prompts with their weights in percent."""
        pairs = zip(fitted.weights.tolist(), self.names, strict=True)
        return ", ".join(f"{100 * weight:.0f} % {name}" for weight, name in pairs)


def _in_each_wording(task: Task, job: LamaJob) -> list[Task]:
    """A relation as one task for each of its prompts."""
    return [
        replace(
            task,
            name=f"{task.name}/{name}",
            label=f"{task.label} ({name})",
            wording=worded(task, job.config, job.backbone.tokens),
        )
        for name, worded in members(job.config).items()
    ]


def _slots(task: Task) -> int:
    return task.wording.pattern.num_slots


def _fit(job: LamaJob, mixture: PromptMixture) -> _Fitted:
    """Weights under which dev facts are likeliest, and what each share does for right answers."""
    count, size = len(mixture.asked), job.backbone.tokens.vocab_size
    facts = answerable(mixture.panel, mixture.relation, job.tasks[mixture.relation].splits.dev)
    if not facts:
        even = torch.full((count,), 1 / count)
        return _Fitted(even, torch.zeros(size), torch.zeros(len(_SHARES)))
    words, answers = mixture.candidates(facts)
    scores = mixture.log_probabilities(facts, torch.arange(size))
    weights = fit_weights(scores[..., words], answers, prior_facts=_PRIOR_FACTS)
    mixed = weights @ scores
    mean = mixed.mean(0)
    shares = torch.tensor(_SHARES)[:, None, None]
    found = (mixed[:, words] - shares * mean[words]).argmax(-1)
    right = (found == answers).sum(-1).float()
    # Ranks may differ in the last bits, and then the first one decides for all.
    return _Fitted(*job.world.gather((weights, mean, right))[0])
