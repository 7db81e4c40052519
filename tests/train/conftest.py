"""Trainers of small tasks, with a tiny causal model in one process."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.parallel import single
from ptune_scale.prompt.kinds import EncoderSharing
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.ask import Asker
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.order import TaskOrder
from ptune_scale.train.problem import TaskProblem
from ptune_scale.train.schedule import records_per_visit, tokens_per_visit
from ptune_scale.train.trainer import Trainer
from tests.tiny import bank_of

COUNTRIES, CITIES = "Norway Sweden France Germany Italy Spain", "Oslo Paris Berlin Rome Madrid"


def task(name: str, dev: int) -> Task:
    """Records of one to three words and a word that answers them, by chance."""
    chance = Random(name)

    def records(count: int) -> tuple[Record, ...]:
        words = [chance.choices(COUNTRIES.split(), k=chance.randint(1, 3)) for _ in range(count)]
        return tuple(
            Record(str(i), {"subject": " ".join(each)}, chance.choice(CITIES.split()))
            for i, each in enumerate(words)
        )

    wording = Wording(Pattern.parse("[P] [X] [P] [Y]"), Ranked({"all": None}, one_token=True))
    return Task(name, wording, Splits(records(9), records(dev), records(1)))


@pytest.fixture(scope="session")
def backbone(tiny_gpt2: Path) -> Backbone:
    return load_backbone(str(tiny_gpt2))


@pytest.fixture(scope="session")
def trainer(backbone: Backbone) -> Callable[..., Trainer]:
    """Make a trainer of tasks of these names; names are all that their records depend on."""

    def make(
        names: list[str],
        config: TrainConfig,
        sharing: EncoderSharing = "all",
        *,
        dev: int = 5,
        backbone: Backbone = backbone,
    ) -> Trainer:
        bank = bank_of(names, 2, backbone.hidden_size, sharing=sharing, seed=config.seed)
        size, tokens = records_per_visit(config, len(names)), tokens_per_visit(config, len(names))
        function = single(backbone.lm)
        tasks = [AskedTask(task(n, dev), backbone.tokens, i) for i, n in enumerate(names)]
        orders = [
            TaskOrder(name, each.learn, size, config.seed, tokens_per_visit=tokens)
            for name, each in zip(names, tasks, strict=True)
        ]
        asker = Asker(
            function, bank(range(len(names))), config.eval_batch_size, config.eval_batch_tokens
        )
        return Trainer(bank, function, orders, TaskProblem(asker, tasks), config)

    return make
