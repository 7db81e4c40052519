"""P-tuning on facts: all relations in one run, wherever the slots stand and prompts begin.

ptuning              slots alone, one pattern for all relations
ptuning_search       the same with settings that are searched for, see tune/search.py
ptuning_demonstrated the same behind a few training facts, which stay as they are written
ptuning_retrieved    the same behind those training facts that are most like the question
ptuning_anchored     slots in front of the manual prompt, whose words stay as anchors
ptuning_from_manual  slots that begin as the words of the manual prompt, as in OptiPrompt (Zhong et
                     al. 2021, "Factual Probing Is [MASK]", section 4)
"""

from collections.abc import Sequence

from torch import Tensor

from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.methods.wordings import (
    LamaMethod,
    Worded,
    anchored,
    demonstrated,
    from_manual,
    retrieved,
    trial_wordings,
    tuned,
    words_of_manual,
)
from ptune_scale.lama.objects import Objects
from ptune_scale.task.task import Wording
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.prompts import start_from_words, train_prompts
from ptune_scale.tune.search import run_search


def run_ptuning(job: LamaJob) -> list[MethodResult]:
    spelled = "in the reference layout, " if job.config.ask.spelling == "reference" else ""
    pattern = job.tasks[0].wording.pattern.text
    return train_and_answer(job, "ptuning", tuned, f"tuned prompt {spelled}{pattern}")


PTUNING = LamaMethod("ptuning", run_ptuning, "tuned slots alone", trains_prompts=True, worded=tuned)


def run_lama_search(job: LamaJob) -> list[MethodResult]:
    return run_search(job, trial_wordings(job.config, job.backbone.tokens), _exported)


SEARCH = LamaMethod(
    "ptuning_search", run_lama_search, "tuned slots, settings searched for", trains_prompts=True
)


def run_demonstrated(job: LamaJob) -> list[MethodResult]:
    count = job.config.ask.num_fixed
    which = f"{count} training facts in the manual prompt's words"
    return _run_behind(job, "ptuning_demonstrated", demonstrated, which)


DEMONSTRATED = LamaMethod(
    "ptuning_demonstrated",
    run_demonstrated,
    "tuned slots behind training facts",
    trains_prompts=True,
    worded=demonstrated,
    shows_facts=True,
)


def run_retrieved(job: LamaJob) -> list[MethodResult]:
    which = f"{job.config.ask.num_retrieved} training facts whose subjects are most alike"
    return _run_behind(job, "ptuning_retrieved", retrieved, which)


RETRIEVED = LamaMethod(
    "ptuning_retrieved",
    run_retrieved,
    "tuned slots behind facts like the question",
    trains_prompts=True,
    worded=retrieved,
    shows_facts=True,
)


def _run_behind(job: LamaJob, name: str, worded: Worded, which: str) -> list[MethodResult]:
    described = f"tuned prompt {job.tasks[0].wording.pattern.text} behind {which}"
    return train_and_answer(job, name, worded, described)


def run_anchored(job: LamaJob) -> list[MethodResult]:
    wording = anchored(job.tasks[0], job.config, job.backbone.tokens)
    slots = wording.pattern.text.split(" ", 1)[0]
    described = f"tuned {slots} before the manual prompt"
    return train_and_answer(job, "ptuning_anchored", anchored, described)


ANCHORED = LamaMethod(
    "ptuning_anchored",
    run_anchored,
    "tuned slots before the manual prompt",
    trains_prompts=True,
    worded=anchored,
)


def run_from_manual(job: LamaJob) -> list[MethodResult]:
    words = [words_of_manual(task, job.backbone.tokens)[1] for task in job.tasks]
    described = "tuned prompt that began as the manual one"
    start = start_from_words(words, job)
    return train_and_answer(job, "ptuning_from_manual", from_manual, described, start)


FROM_MANUAL = LamaMethod(
    "ptuning_from_manual",
    run_from_manual,
    "tuned slots that begin as the manual prompt",
    trains_prompts=True,
    worded=from_manual,
)


def train_and_answer(
    job: LamaJob,
    name: str,
    worded: Worded,
    description: str,
    start: Tensor | None = None,
    *,
    control: bool = False,
) -> list[MethodResult]:
    """Train (or go on training), export, and score on the test facts.

    Args:
        start: (R, S, H), what the prompts begin as; None for what the flags say.
        control: nobody will ask the prompts, and none are exported.
    """
    wordings = [worded(task, job.config, job.backbone.tokens) for task in job.tasks]
    asked = job.asked(wordings)
    trained = train_prompts(
        job,
        name,
        asked,
        # The main method owns the run's directory itself.
        directory=job.output if name == "ptuning" else job.output / name,
        start=start,
        resumed_from=job.resume_from.get(name),
        exported=_exported(wordings),
        exports=not control,
    )
    job.training[name] = trained.info
    predictions = job.answers(asked, trained.prompts, f"{name}, test")
    return [MethodResult(name, description, predictions, dev=trained.dev, control=control)]


def _exported(wordings: Sequence[Wording]) -> list[Wording]:
    """How the prompts are asked later: objects of any length are texts."""
    return [
        Wording(each.pattern, each.answer.text) if isinstance(each.answer, Objects) else each
        for each in wordings
    ]
