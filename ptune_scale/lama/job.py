"""A job of relations: what LAMA's methods need besides what every job has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ptune_scale.backbone import Backbone
from ptune_scale.lama.config import LamaConfig
from ptune_scale.lama.reader.published import Published
from ptune_scale.parallel import Degrees
from ptune_scale.run.site import Site
from ptune_scale.task.task import Task
from ptune_scale.tune.job import Job
from ptune_scale.tune.trials import PromptTrial


@dataclass(frozen=True)
class CheckedFacts:
    """What a run needs: nothing is read or opened twice.

    Attributes:
        backbone: opened; none of its weights is loaded.
        tasks: the relations.
        methods: names, the control in front.
        published: LPAQA's prompts by kind, where they are asked for.
        dropped: facts and records that were left out, by reason.
        trials: settings that are searched for the best, if any are.
    """

    config: LamaConfig
    degrees: Degrees
    backbone: Backbone
    tasks: Sequence[Task]
    methods: Sequence[str]
    published: Mapping[str, Published]
    dropped: Counter[str]
    trials: Sequence[PromptTrial] = ()


@dataclass
class LamaJob(Job):
    """A job whose tasks are relations, each with a manual prompt called "manual".

    Attributes:
        published: LPAQA's prompts by kind, where they are asked for.
        dropped: facts and records that were left out, by reason.
    """

    config: LamaConfig
    published: Mapping[str, Published] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, checked: CheckedFacts, site: Site) -> LamaJob:
        """Lay the backbone out on the ranks; see ``Job.start``."""
        job = cls.start(checked.config, checked.tasks, checked.backbone, site)
        job.published, job.dropped = checked.published, checked.dropped
        job.trials = checked.trials
        return job
