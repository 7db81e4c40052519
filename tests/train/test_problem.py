"""How good prompts are on development records: each task's own metrics, as values of 0 to 1."""

from collections.abc import Callable

import pytest
import torch

from ptune_scale.backbone import Backbone
from ptune_scale.parallel import single
from ptune_scale.task.answers.answer import Answer
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.text import Text
from ptune_scale.task.answers.words import Words
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.metrics import find_metric
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.problem import TaskProblem, asker_of

PLACES = ["Norway", "Sweden", "France", "Italy", "Spain", "Germany"]
Make = Callable[..., AskedTask]


@pytest.fixture(scope="module")
def make(backbone: Backbone) -> Make:
    def make(index: int, answer: Answer, right: list[str], *metrics: str) -> AskedTask:
        records = tuple(
            Record(str(i), {"a": place}, each)
            for i, (place, each) in enumerate(zip(PLACES, right, strict=False))
        )
        splits = Splits(records, records, records)
        wording = Wording(Pattern.parse("{a} is [P] in [Y]"), answer)
        return AskedTask(
            Task(str(index), wording, splits, metrics, metrics), backbone.tokens, index
        )

    return make


WORDS = Words({"north": ("Oslo",), "south": ("Rome", "Madrid")})
RIGHT = ["north", "south", "north", "south", "north", "south"]


def test_each_task_is_scored_with_the_metrics_it_is_selected_on(
    backbone: Backbone, make: Make
) -> None:
    tasks = [
        make(0, WORDS, RIGHT, "mcc", "accuracy"),
        make(1, Ranked({"cities": ("Oslo", "Rome", "Paris")}), ["Rome", "Oslo"], "mrr"),
        make(2, Text(4), ["a city", "near Rome", "Oslo"], "perplexity", "exact_match"),
        make(3, WORDS, [], "accuracy"),
    ]
    prompts = torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(0))
    asker = asker_of(single(backbone.lm), TrainConfig(eval_batch_size=4), prompts[:0])
    problem = TaskProblem(asker, tasks)
    scores = problem.score([0, 1, 2, 3], prompts)
    assert [problem.has_dev(i) for i in range(4)] == [True, True, True, False]
    assert [scores[i].count for i in range(4)] == [6, 2, 3, 0]
    for index, task in enumerate(tasks[:3]):
        outcomes = task.outcomes(task.dev, problem.predict(task.dev, prompts))
        expected = {name: find_metric(name).compute(outcomes) for name in task.task.metrics}
        assert problem.metrics[index] == pytest.approx(expected)
    mcc, accuracy = problem.metrics[0]["mcc"], problem.metrics[0]["accuracy"]
    assert scores[0].values == pytest.approx(((1 + mcc) / 2, accuracy))
    assert scores[0].main == scores[0].values[0]
    # The lower a perplexity, the better.
    perplexity = problem.metrics[2]["perplexity"]
    assert scores[2].values[0] == pytest.approx(1 / (1 + perplexity))
    assert problem.metrics[3] == {} and len(scores[3].values) == 1
    assert problem.score([1], prompts)[1] == scores[1]


def test_the_batches_of_a_step_are_those_of_its_kinds(backbone: Backbone, make: Make) -> None:
    tasks = [make(0, WORDS, RIGHT), make(1, Text(4), ["a city"] * 6), make(2, WORDS, RIGHT)]
    asker = asker_of(single(backbone.lm), TrainConfig(), torch.zeros(3, 1, 32))
    batches = TaskProblem(asker, tasks).batches([task.learn[0] for task in tasks])
    assert [[row.task for row in batch.examples] for batch, _ in batches] == [[0, 2], [1]]
