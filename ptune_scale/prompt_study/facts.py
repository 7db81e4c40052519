"""The prompts of a LAMA relation: each on a few development facts, and on the test facts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptune_scale.assemble import build_job
from ptune_scale.check import check
from ptune_scale.data.facts import FactSet
from ptune_scale.data.prepare import PreparedRelation, fill
from ptune_scale.data.prompts import word_template
from ptune_scale.errors import UserError
from ptune_scale.evaluate import Score, all_ranks
from ptune_scale.job import Job
from ptune_scale.parallel import Mesh, StopSignal
from ptune_scale.progress import bar
from ptune_scale.prompt_study.config import PromptStudyConfig
from ptune_scale.prompt_study.measured import Measured, PromptScore
from ptune_scale.prompt_study.wording import Wording, papers_setting, papers_wordings, wordings
from ptune_scale.template import Template


@dataclass(frozen=True)
class FactStudy:
    """A relation and its prompts, checked."""

    config: PromptStudyConfig
    facts: FactSet
    wordings: list[Wording]

    @classmethod
    def of(cls, config: PromptStudyConfig) -> "FactStudy":
        """Read what is asked for.

        Raises:
            UserError: the first thing that is wrong.
        """
        facts = check(config.for_facts())
        if len(facts.relations) != 1:
            raise UserError(f"--relation {config.study.relation!r}: name one relation")
        relation, study = facts.relations[0], config.study
        found = wordings(relation.id, relation.manual_prompt, Path(study.data_dir), study.prompts)
        return cls(config, facts, found)

    def measure(self, mesh: Mesh, stop: StopSignal, output: Path) -> Measured:
        """Ask with every prompt.

        Raises:
            UserError: the model can use none of them, or the layout does not fit it.
            Stopped: the job was asked to stop.
        """
        config = self.config.for_facts()
        job = build_job(config, self.facts, config.as_flags(), mesh, stop, output)
        (relation,) = job.facts.relations
        usable, left_out = _usable(job, self.wordings)
        if not usable:
            raise UserError(
                f"{relation.id}: none of {len(self.wordings)} prompts can be used by "
                f"{job.backbone.name}: {', '.join(left_out)}"
            )
        numbers = papers_wordings(relation.id)
        prompts = tuple(
            PromptScore(
                f"{index}",
                wording.text,
                wording.source,
                *scores,
                {"full": numbers[wording.text]} if wording.text in numbers else {},
            )
            for index, (wording, scores) in enumerate(_ask(job, relation, usable), start=1)
        )
        return Measured(
            subject=f"{relation.id} ({relation.label})",
            metric=f"P@1 among {job.candidates.names[0]}",
            small_name=f"{len(relation.dev)} dev facts",
            full_name=f"{len(relation.test)} test facts",
            prompts=prompts,
            paper=papers_setting(relation.id),
            notes=tuple(f"left out: {count} x {why}" for why, count in left_out.items()),
        )


def _usable(
    job: Job, wordings: Sequence[Wording]
) -> tuple[list[tuple[Wording, Template]], Counter[str]]:
    """Prompts that differ in what the model sees of them, and how many others there are, by why."""
    usable: dict[str, tuple[Wording, Template]] = {}
    left_out: Counter[str] = Counter()
    for wording in wordings:
        try:
            template = word_template(wording.text, job.tokens.kind)
        except UserError:
            once = wording.text.count("[X]") == wording.text.count("[Y]") == 1
            left_out["subject behind the target" if once else "not one [X] and one [Y]"] += 1
            continue
        if template.pattern in usable:
            left_out["the same to this model as another"] += 1
        usable.setdefault(template.pattern, (wording, template))
    return list(usable.values()), left_out


def _ask(
    job: Job, relation: PreparedRelation, usable: Sequence[tuple[Wording, Template]]
) -> list[tuple[Wording, tuple[float, float]]]:
    """P@1 of each prompt on development and test facts."""
    facts = (*relation.dev, *relation.test)
    found = []
    total = len(usable) * len(facts)
    with bar(f"prompts of {relation.id}", total, "facts", shown=job.is_main) as progress:

        def after_batch(rows: int) -> None:
            progress.update(rows)
            job.stop.check()

        for wording, template in usable:
            ranks = all_ranks(
                job.function,
                fill(0, facts, template, job.tokens),
                job.no_prompts,
                job.candidates,
                batch_size=job.config.train.eval_batch_size,
                batch_tokens=job.config.train.eval_batch_tokens,
                pad=job.tokens.placeholder,
                after_batch=after_batch,
            )[:, 0, 0]
            parts = ranks.split([len(relation.dev), len(relation.test)])
            small, full = (Score.of(part).p_at_1 for part in parts)
            found.append((wording, (small, full)))
    return found
