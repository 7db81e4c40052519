"""What a model goes on with is what a plain loop over the whole model goes on with, token by token.

In layouts of several ranks: ``test_layouts``.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ptune_scale.backbone import load_backbone
from ptune_scale.parallel import Generated, PromptFunction, single
from ptune_scale.parallel.generation import begin, write_again
from ptune_scale.task.example import Example, collate

CACHED = ["gpt2", "llama", "qwen3", "gemma4", "bloom"]
STOP = set(range(0, 65, 4))


def rows() -> list[Example]:
    """Of several lengths in two tasks, with slots in front, around and behind."""
    random = torch.Generator().manual_seed(5)
    made = []
    for number in range(9):
        words = torch.randint(5, 60, (1 + 4 * number % 11,), generator=random).tolist()
        nothing = [-1] * len(words)
        ids, slots = [
            ((0, *words, 0), (0, *nothing, 1)),
            ((0, 0, *words), (0, 1, *nothing)),
            ((*words, 0, 0), (*nothing, 0, 1)),
        ][number % 3]
        made.append(Example(number % 2, ids, slots, (len(ids) - 1,), (7,)))
    return made


def prompts_of(size: int) -> Tensor:
    return torch.randn(2, 2, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def plainly(model: PreTrainedModel, row: Example, prompts: Tensor, most: int) -> Generated:
    """As the model was written: all embeddings in, the likeliest next token out."""
    embed = model.get_input_embeddings()
    inputs = embed(torch.tensor([row.ids]))
    for place, slot in enumerate(row.slots):
        if slot >= 0:
            inputs[0, place] = prompts[row.task, slot]
    tokens: list[int] = []
    log_probabilities: list[float] = []
    while len(tokens) < most:
        shares = model(inputs_embeds=inputs).logits[0, -1].log_softmax(-1)
        token = int(shares.argmax())
        log_probabilities.append(float(shares[token]))
        if token in STOP:
            return Generated(tuple(tokens), tuple(log_probabilities), True)
        tokens.append(token)
        inputs = torch.cat([inputs, embed(torch.tensor([[token]]))], dim=1)
    return Generated(tuple(tokens), tuple(log_probabilities), False)


def assert_same(found: list[Generated], expected: list[Generated]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.tokens, one.ended) == (other.tokens, other.ended)
        scores, plain = torch.tensor(one.log_probabilities), torch.tensor(other.log_probabilities)
        torch.testing.assert_close(scores, plain, atol=1e-5, rtol=0)


def function_of(model: Path) -> PromptFunction:
    return single(load_backbone(str(model)).lm.prepare())


@pytest.mark.parametrize("family", [*CACHED, "megatron"])
def test_it_is_what_a_plain_loop_goes_on_with(family: str, small_model) -> None:
    function = function_of(small_model(family))
    plain = load_backbone(str(small_model(family))).load_model().eval()
    prompts = prompts_of(32)
    expected = [plainly(plain, row, prompts, 8) for row in rows()]
    assert {one.ended for one in expected} == {True, False}
    assert len({len(one.tokens) for one in expected}) > 1
    assert function.has_cache == (family in CACHED)
    for rows_per_forward in (None, 2):
        function.rows_per_forward = rows_per_forward
        found = function.generate(collate(rows()), prompts, max_tokens=8, stop=STOP)
        assert_same(found, expected)


@pytest.mark.parametrize("family", CACHED)
def test_without_the_cache_it_is_the_same(family: str, small_model) -> None:
    function, prompts = function_of(small_model(family)), prompts_of(32)
    found = function.generate(collate(rows()), prompts, max_tokens=8, stop=STOP)
    drafts = begin(rows(), function.engine.lm.model.config, 8, STOP)
    write_again(rows(), drafts, lambda batch: function.top(batch, prompts, 1))
    assert_same(found, [draft.done() for draft in drafts])


def test_a_row_ends_where_the_context_does(small_model) -> None:
    function = function_of(small_model("gpt2"))  # 64 positions
    long = [Example(0, (5,) * n, (-1,) * n, (n - 1,), (7,)) for n in (60, 64, 3)]
    found = function.generate(collate(long), prompts_of(32), max_tokens=10)
    assert [len(one.tokens) for one in found] == [5, 1, 10]
    assert not any(one.ended for one in found)


def test_the_rows_beside_it_do_not_change_a_text(small_model) -> None:
    function, prompts = function_of(small_model("llama")), prompts_of(32)
    together = function.generate(collate(rows()), prompts, max_tokens=8, stop=STOP)
    alone = [
        function.generate(collate([row]), prompts, max_tokens=8, stop=STOP)[0] for row in rows()
    ]
    assert_same(alone, together)


def test_the_score_is_that_of_the_whole_text_with_its_end(small_model) -> None:
    function, prompts = function_of(small_model("llama")), prompts_of(32)
    written = function.generate(collate(rows()), prompts, max_tokens=8, stop=STOP)
    [row, text] = next((r, w) for r, w in zip(rows(), written, strict=True) if w.ended and w.tokens)
    assert len(text.log_probabilities) == len(text.tokens) + 1
    whole = Example(
        row.task,
        (*row.ids, *text.tokens),
        (*row.slots, *[-1] * len(text.tokens)),
        tuple(range(len(row.ids) - 1, len(row.ids) + len(text.tokens) - 1)),
        text.tokens,
    )
    read = function.log_probabilities(collate([whole]), prompts)[0]
    expected = torch.tensor(text.log_probabilities[:-1])
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=0)
    assert text.log_probability == sum(text.log_probabilities)


def test_no_tokens_are_written_where_none_are_asked_for(small_model) -> None:
    found = function_of(small_model("gpt2")).generate(collate(rows()), prompts_of(32), max_tokens=0)
    assert found == [Generated((), (), False)] * len(rows())


def test_a_masked_model_cannot_go_on(small_model) -> None:
    with pytest.raises(ValueError, match="masked model"):
        function_of(small_model("bert")).generate(collate(rows()), prompts_of(32), max_tokens=3)
