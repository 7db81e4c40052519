"""What prompts learn by themselves: the same training where there is nothing to be known.

random_model       a backbone of the same shape with random weights (Zhong et al. 2021, "Factual
                   Probing Is [MASK]", section 5): whatever is right there was learned from the
                   training facts
shuffled_objects   the model itself, with the objects of training facts dealt out anew: what is
                   right there is how often an object occurs
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import torch

from ptune_scale.backbone import Backbone, FrozenLM
from ptune_scale.backbone.network import auto_class
from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.methods.prompts import train_and_answer
from ptune_scale.lama.methods.wordings import LamaMethod, tuned
from ptune_scale.parallel import replicated
from ptune_scale.prompt.bank import stable_seed
from ptune_scale.task.record import Record
from ptune_scale.task.task import Task
from ptune_scale.tune.job import MethodResult


def run_random_model(job: LamaJob) -> list[MethodResult]:
    """Tune prompts of a model that never read anything; each rank holds it whole."""
    seed = stable_seed(job.config.train.seed, "random model")
    lm = random_model(job.backbone, seed).to(job.world.device)
    # Where the real model's words lie is something that this one does not know.
    prompt = replace(job.config.prompt, prompt_start="random")
    function = replicated(lm, job.world)
    alone = replace(job, function=function, config=replace(job.config, prompt=prompt))
    described = "control: prompts tuned on a model of the same shape with random weights"
    return train_and_answer(alone, "random_model", tuned, described, control=True)


RANDOM_MODEL = LamaMethod(
    "random_model",
    run_random_model,
    "control: a model of random weights",
    trains_prompts=True,
    can_be_served=False,
    worded=tuned,
)


def random_model(backbone: Backbone, seed: int) -> FrozenLM:
    """A model as its family begins to be trained, in the backbone's dtype."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = auto_class(backbone.kind).from_config(
            backbone.config,
            attn_implementation=backbone.attention,
            dtype=backbone.dtype,
            trust_remote_code=False,
        )
    return FrozenLM(network, shortcuts=backbone.shortcuts, dropout=backbone.dropout)


def run_shuffled_objects(job: LamaJob) -> list[MethodResult]:
    """Tune prompts on facts that are none."""
    tasks = [shuffled(task, job.config.train.seed) for task in job.tasks]
    described = "control: prompts tuned on facts whose objects were dealt out anew"
    return train_and_answer(
        replace(job, tasks=tasks), "shuffled_objects", tuned, described, control=True
    )


SHUFFLED_OBJECTS = LamaMethod(
    "shuffled_objects",
    run_shuffled_objects,
    "control: objects dealt out anew",
    trains_prompts=True,
    worded=tuned,
)


def shuffled(task: Task, seed: int) -> Task:
    """The task with the answers of each of its training and dev parts in another order."""
    chance = random.Random(stable_seed(seed, "shuffled", task.name))

    def dealt(records: Sequence[Record]) -> tuple[Record, ...]:
        answers = [record.answer for record in records]
        chance.shuffle(answers)
        pairs = zip(records, answers, strict=True)
        return tuple(replace(record, answer=answer) for record, answer in pairs)

    splits = task.splits
    return replace(task, splits=replace(splits, learn=dealt(splits.train), dev=dealt(splits.dev)))
