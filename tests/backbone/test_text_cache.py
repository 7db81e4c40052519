"""Texts before the slots are computed once, and nothing but rounding changes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from ptune_scale.backbone import FrozenLM
from ptune_scale.backbone.families import FAMILIES
from ptune_scale.backbone.shortcuts import DEFAULT, PLAIN
from ptune_scale.backbone.text_cache import BLOCK, TextCache
from ptune_scale.backbone.tiers import FileTier, MemoryTier
from ptune_scale.parallel import PromptFunction, single
from ptune_scale.task.example import Batch, Example, collate
from ptune_scale.task.objective import Vocabulary
from tests.backbone.test_shortcuts import SLOTS, VOCABULARY, network

CACHED = [name for name, f in FAMILIES.items() if f.can_pack and f.has_cache]
PLENTY = 1 << 30


def words(count: int, seed: int) -> tuple[int, ...]:
    chance = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(1, VOCABULARY, (count,), generator=chance).tolist())


def row(text: tuple[int, ...], *ending: int, task: int = 0, question: int = -1) -> Example:
    """A text, two slots, and what follows them."""
    ids = (*text, 0, 0, *ending)
    slots = (*[-1] * len(text), 0, 1, *[-1] * len(ending))
    return Example(task, ids, slots, (len(ids) - 1,), (7,), question=question)


TEXTS = [words(count, seed) for seed, count in enumerate((9, 130, 64, 70, 65))]
BATCHES = {
    "texts of unlike lengths": collate([row(text, 5) for text in TEXTS]),
    "rows that share a text": collate(
        [row(text, *words(n, n), question=q) for q, text in enumerate(TEXTS) for n in (1, 2, 4)]
    ),
    "texts that begin alike": collate([row(TEXTS[1] + words(n, n)) for n in (3, 60, 70)]),
    "tasks that ask about the same texts": collate(
        [row(text, *words(2, n), task=task) for n, text in enumerate(TEXTS[:3]) for task in (0, 1)]
    ),
    "rows with texts and others": collate(
        [row(TEXTS[0]), row(TEXTS[1]), *(row((), *words(5, n), task=1) for n in range(3))]
    ),
}


def prompts_of(width: int) -> Tensor:
    return torch.randn(2, SLOTS, width, generator=torch.Generator().manual_seed(5))


def long_network(family: str, attention: str) -> PreTrainedModel:
    return network(family, attention, **({"n_positions": 256} if family == "gpt2" else {}))


def plain(family: str, attention: str = "eager") -> PromptFunction:
    return single(FrozenLM(long_network(family, attention), shortcuts=PLAIN))


def cached(family: str, attention: str = "eager", limit: int = PLENTY) -> PromptFunction:
    lm = FrozenLM(long_network(family, attention), shortcuts=DEFAULT).prepare()
    lm.texts = TextCache(MemoryTier(limit))
    return single(lm)


def count_tokens(function: PromptFunction) -> list[int]:
    """Is added the number of positions that each later pass embeds."""
    counts: list[int] = []
    embed = function.engine.lm._embed

    def counting(ids: Tensor, *more: Tensor) -> Tensor:
        counts.append(ids.numel())
        return embed(ids, *more)

    function.engine.lm._embed = counting
    return counts


@pytest.mark.parametrize("family", CACHED)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_losses_and_gradients_are_those_without_a_cache(family: str, attention: str) -> None:
    if attention == "sdpa" and family == "gemma2":
        pytest.skip("the library has no such attention for it")
    function, reference = cached(family, attention), plain(family, attention)
    prompts = prompts_of(32)
    for batch in BATCHES.values():
        expected = reference.loss_and_gradient(batch, prompts)
        scores = reference.log_probabilities(batch, prompts)
        for _ in range(2):  # as texts are computed, and as they are there
            losses, gradient = function.loss_and_gradient(batch, prompts)
            assert_close(losses, expected[0], rtol=1e-5, atol=1e-5)
            assert_close(gradient, expected[1], rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))
            assert_close(function.log_probabilities(batch, prompts), scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BATCHES)
def test_no_token_of_a_text_is_computed_again(name: str) -> None:
    function, prompts = cached("llama"), prompts_of(32)
    counts = count_tokens(function)
    function.loss_and_gradient(BATCHES[name], prompts)
    first = sum(counts)
    counts.clear()
    function.loss_and_gradient(BATCHES[name], prompts + 1)
    behind = sum(len(e.ids) - e.slots.index(0) for e in BATCHES[name].examples)
    assert sum(counts) <= 2 * behind < first


def test_what_texts_begin_with_is_computed_once() -> None:
    function, prompts = cached("llama"), prompts_of(32)
    counts = count_tokens(function)
    begun = words(640, 1)
    function.log_probabilities(collate([row(begun + words(9, n)) for n in range(5)]), prompts)
    assert sum(counts) < 2 * len(begun)


@pytest.mark.parametrize("texts_held", [0, 1, 3])
def test_the_least_recently_used_goes_out_first_and_nothing_is_wrong(texts_held: int) -> None:
    probe, prompts = cached("llama"), prompts_of(32)
    rows = [row(text, 5) for text in (TEXTS[1], *(words(130, n) for n in range(10, 14)))]
    probe.log_probabilities(collate(rows[:1]), prompts)
    limit = texts_held * probe.engine.lm.texts.held
    function, reference = cached("llama", limit=limit), plain("llama")
    for each in (*rows, *rows, *rows[::-1]):
        expected = reference.loss_and_gradient(collate([each]), prompts)
        for found, right in zip(
            function.loss_and_gradient(collate([each]), prompts), expected, strict=True
        ):
            assert_close(found, right, rtol=1e-4, atol=1e-5)
        assert function.engine.lm.texts.held <= limit
    expected = reference.loss_and_gradient(collate(rows), prompts)[1]
    assert_close(
        function.loss_and_gradient(collate(rows), prompts)[1], expected, rtol=1e-4, atol=1e-5
    )
    if texts_held == 3:  # those of the end: the last, the last but one, the one before
        held = function.engine.lm.texts
        assert [held.known(each.ids[:130]) for each in rows] == [130, 130, 130, 0, 0]


def test_of_a_text_the_end_goes_out_before_the_beginning() -> None:
    function, prompts = cached("llama"), prompts_of(32)
    one, other = words(4 * BLOCK, 1), words(3 * BLOCK, 2)
    function.log_probabilities(collate([row(one)]), prompts)
    texts = function.engine.lm.texts
    texts.tiers[0].limit = 6 * texts.held // 4
    function.log_probabilities(collate([row(other)]), prompts)
    assert (texts.known(other), texts.known(one)) == (3 * BLOCK, 3 * BLOCK)


def test_what_memory_has_no_room_for_lies_in_files_and_is_the_same(tmp_path: Path) -> None:
    function, reference, prompts = cached("llama"), plain("llama"), prompts_of(32)
    batch = BATCHES["texts of unlike lengths"]
    function.engine.lm.texts = TextCache(MemoryTier(60_000), FileTier(PLENTY, tmp_path, BLOCK))
    counts = count_tokens(function)
    expected = reference.loss_and_gradient(batch, prompts)[1]
    for _ in range(3):
        counts.clear()
        found = function.loss_and_gradient(batch, prompts)[1]
        assert_close(found, expected, rtol=1e-4, atol=1e-5)
    memory, files = function.engine.lm.texts.tiers
    assert 0 < memory.held <= 60_000 < files.held
    assert sum(counts) <= 2 * 3 * len(batch)
    assert not list(tmp_path.iterdir())  # nothing is left behind, whatever ends the process


def test_a_full_disk_only_makes_less_be_kept(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    function, prompts = cached("llama"), prompts_of(32)
    batch = BATCHES["texts of unlike lengths"]
    function.engine.lm.texts = TextCache(MemoryTier(20_000), FileTier(PLENTY, tmp_path, BLOCK))
    expected = plain("llama").loss_and_gradient(batch, prompts)[1]
    for _ in range(2):
        assert_close(function.loss_and_gradient(batch, prompts)[1], expected, rtol=1e-4, atol=1e-5)
    assert not list(tmp_path.iterdir()) and function.engine.lm.texts.tiers[1].held == 0


def test_files_forget_the_least_recently_used_too(tmp_path: Path) -> None:
    blocks = {n: torch.full((2, 2, 1, BLOCK - n, 4), float(n)) for n in range(4)}
    tier = FileTier(2 * blocks[0].nbytes, tmp_path, BLOCK)
    for number in (0, 1):
        tier.put(number, blocks[number])
    tier.touch(0)
    tier.put(2, blocks[2])
    assert [number in tier for number in blocks] == [True, False, True, False]
    for number in (0, 2):
        assert_close(tier.get(number), blocks[number])
    assert tier.held == tier.limit
    key, block = tier.pop_oldest()
    assert key == 0 and torch.equal(block, blocks[0]) and tier.held == tier.limit // 2


def test_rows_of_a_group_are_not_torn_apart() -> None:
    pairs = [row(TEXTS[1], 3), row((), 4), row((), 5), row((), 6)]
    function, seen = cached("llama"), []

    def question(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        seen.append([len(example.ids) for example in batch.examples])
        return logits[:, 0, 0]

    batch = collate(pairs, group_size=2)
    found = function.ask(batch, prompts_of(32), question, ())
    assert sorted(seen) == [[3, 3], [133, 3]]
    expected = plain("llama").ask(batch, prompts_of(32), lambda v, x, b: x[:, 0, 0], ())
    assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_kept_for_one_is_not_there_for_another() -> None:
    function, prompts = cached("llama"), prompts_of(32)
    expected = plain("llama").loss_and_gradient(BATCHES["texts of unlike lengths"], prompts)[1]

    def computed(*owners: str) -> int:
        texts = function.engine.lm.texts
        before = texts.computed
        rows = [replace(row(text, 5), owner=owner) for owner in owners for text in TEXTS]
        gradient = function.loss_and_gradient(collate(rows), prompts)[1]
        assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
        return texts.computed - before

    size = sum(map(len, TEXTS))
    assert computed("alice") == size
    assert computed("alice") == 0
    assert computed("bob") == size
    assert computed("alice", "bob", "carol") == size
    assert computed("alice", "bob", "carol", "") == size
    assert computed("alice", "bob", "carol", "") == 0


def test_rows_without_slots_are_not_kept_for_they_are_asked_once() -> None:
    function = cached("llama")
    asked = Example(0, TEXTS[1], (-1,) * len(TEXTS[1]), (len(TEXTS[1]) - 1,), (7,))
    function.log_probabilities(collate([asked]), prompts_of(32))
    assert function.engine.lm.texts.held == 0


def test_rows_that_are_not_packed_keep_nothing() -> None:
    function = cached("llama")
    function.engine.lm.shortcuts = replace(DEFAULT, packing=False)
    function.loss_and_gradient(BATCHES["texts of unlike lengths"], prompts_of(32))
    assert function.engine.lm.texts.held == 0
