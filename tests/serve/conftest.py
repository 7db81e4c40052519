"""Rows, prompts and everything that can be asked of them, for tiny models."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.parallel import Mesh, PromptFunction, World, parallelize
from ptune_scale.parallel.degrees import Degrees
from ptune_scale.parallel.remote.backbone import open_served
from ptune_scale.parallel.remote.message import pack
from ptune_scale.parallel.remote.request import Encoded, ModelRequest
from ptune_scale.task.answers.choices import choice_margin
from ptune_scale.task.answers.ranked import BestCandidates
from ptune_scale.task.answers.words import LabelLoss, LabelWords, SpelledOutLoss
from ptune_scale.task.asked import AnswerLogProbabilities, NextTokens, Ranks, Top
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_ANSWER, Batch, Example, collate
from ptune_scale.task.objective import (
    WeightedCrossEntropy,
    cross_entropy,
    mean_cross_entropy,
)
from tests.serving import served

TASKS, SLOTS, HIDDEN, WORDS = 4, 3, 32, 100
"""Each model here has more words."""


TOKENS = """
[alice]
token = "alice-has-a-long-token"
[carol]
token = "carol-has-a-long-token"
[bob]
token = "bob-has-another-token"
requests_per_minute = 4
request_tokens = 60
"""


def rows(seed: int, count: int, *, targets: int = 1, group_size: int = 1) -> Batch:
    """Rows of unlike lengths of tasks 0, 2 and 3, slots on both sides."""
    chance = torch.Generator().manual_seed(seed)

    def some(most: int, number: int) -> list[int]:
        return torch.randint(1, most, (number,), generator=chance).tolist()

    made = []
    for number in range(count):
        length = 3 + some(9, 1)[0]
        own = 1 if number % 3 else targets
        ids, slots = (0, *some(WORDS, length), 0), (0, *[-1] * length, 1 + number % 2)
        answers = some(WORDS, own)
        if own > 1 and number % 4 == 3:
            answers[-1] = NO_ANSWER
        places = range(length + 2 - own, length + 2)
        task = (0, 2, 3)[number // group_size % 3]
        made.append(Example(task, ids, slots, tuple(places), tuple(answers), number % 2))
    return collate(made, group_size=group_size)


def text_rows(seed: int, count: int, *, texts: int = 3) -> Batch:
    """Rows of which each begins with one of a few texts, 20 tokens and more before the slots."""
    chance = torch.Generator().manual_seed(seed)

    def some(number: int) -> list[int]:
        return torch.randint(1, WORDS, (number,), generator=chance).tolist()

    known = [some(20 + number) for number in range(texts)]
    made = []
    for number in range(count):
        text, rest = known[number % texts], some(1 + number % 4)
        ids = (*text, 0, 0, *rest)
        slots = (*[-1] * len(text), 0, 2, *[-1] * len(rest))
        made.append(Example((0, 2, 3)[number % 3], ids, slots, (len(ids) - 1,), (some(1)[0],)))
    return collate(made)


def prompts(seed: int = 1) -> torch.Tensor:
    return torch.randn(TASKS, SLOTS, HIDDEN, generator=torch.Generator().manual_seed(seed)) / 2


def candidates(vocab_size: int) -> Candidates:
    lists = [[5, 6, 7], [8, 9], None, [1, 2, 3, 11]]
    return Candidates(vocab_size, {"all": None, "even": list(range(0, 60, 2))}, {"own": lists})


def label_words() -> LabelWords:
    return LabelWords.of({0: [[5], [6, 7]], 2: [[8, 9], [10]], 3: [[11], [12]]})


def losses() -> dict[str, tuple[Batch, Any]]:
    pairs = rows(5, 12, targets=2, group_size=2)
    return {
        "cross_entropy": (rows(1, 9), cross_entropy),
        "mean_cross_entropy": (rows(2, 9, targets=3), mean_cross_entropy),
        "weighted_cross_entropy": (rows(3, 9, targets=3), WeightedCrossEntropy(2.5)),
        "label": (rows(4, 9), LabelLoss(label_words())),
        "spelled_out": (pairs, SpelledOutLoss((0, 1))),
        "choice_margin": (pairs, choice_margin),
    }


def questions(vocab_size: int) -> dict[str, tuple[Batch, Any]]:
    known = candidates(vocab_size)
    return {
        "ranks": (rows(6, 8, targets=2), Ranks(known)),
        "top": (rows(7, 8, targets=2), Top(4)),
        "answer_log_probabilities": (rows(8, 8, targets=3), AnswerLogProbabilities()),
        "next_tokens": (rows(9, 8), NextTokens(torch.tensor([3, 1, 90]))),
        "label_words": (rows(10, 8), label_words()),
        "best_candidates": (rows(11, 8), BestCandidates(known, ((0, "own"), (0, "even")))),
    }


def everything(vocab_size: int) -> list[ModelRequest]:
    """A request of each kind."""
    return [
        *(ModelRequest("loss", batch, prompts(), asked) for batch, asked in losses().values()),
        ModelRequest("loss", text_rows(13, 8), prompts(), cross_entropy),
        *(
            ModelRequest("ask", batch, prompts(), asked)
            for batch, asked in questions(vocab_size).values()
        ),
        ModelRequest("generate", rows(12, 7), prompts(), None, 6, (3, 4, 5)),
    ]


def good_bodies(url: str) -> list[tuple[str, bytes]]:
    """A request of each kind to a server, with its path; some name texts that one before tells."""
    said = open_served(url).description
    asked = everything(said.limits.vocab_size)
    encoded = [(f"/v1/{each.kind}", Encoded(each, said.identity)) for each in asked]
    told = [(path, each.body()) for path, each in encoded]
    named = [(path, each.body(each.texts)) for path, each in encoded if each.texts]
    words = pack({"kind": "words", "model": said.identity}, {"tokens": torch.arange(5).int()})
    return [*told, *named, ("/v1/words", words)]


@pytest.fixture
def local() -> Callable[[Path], PromptFunction]:
    """A model in this process."""

    def make(model: Path) -> PromptFunction:
        return parallelize(load_backbone(str(model)), Mesh.build(World(), Degrees()))

    return make


@pytest.fixture
def remote() -> Callable[..., PromptFunction]:
    """A model behind an address."""

    def make(url: str, **how: Any) -> PromptFunction:
        return parallelize(open_served(url, **how), Mesh.build(World(), Degrees()))

    return make


@pytest.fixture(scope="session")
def guarded(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that asks for tokens."""
    path = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    path.write_text(TOKENS)
    path.chmod(0o600)
    with served(tiny_llama, tokens=str(path)) as url:
        yield url


@pytest.fixture(scope="session")
def url(serving, tiny_llama: Path) -> str:
    """The address of a server of a tiny model."""
    return serving(tiny_llama)


@pytest.fixture(scope="session")
def bodies(url: str) -> list[tuple[str, bytes]]:
    """A good request of each kind, with its path."""
    return good_bodies(url)
