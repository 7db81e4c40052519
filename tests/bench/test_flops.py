"""Operations by formula against operations as PyTorch counts them."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from ptune_scale.bench.flops import ModelSizes, Work, operations
from ptune_scale.bench.work import of_least, of_prefix, of_rows
from ptune_scale.data.batch import Example

ROWS, LENGTH = 3, 10


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_gpt2"])
def test_formula_agrees_with_what_is_executed(name, request):
    directory = request.getfixturevalue(name)
    model = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager")
    model.eval().requires_grad_(False)
    sizes = ModelSizes.of(model)
    embedded = torch.randn(ROWS, LENGTH, sizes.hidden_size, requires_grad=True)
    counter = FlopCounterMode(display=False)
    with counter:
        logits = model(inputs_embeds=embedded, use_cache=False).logits
    forward = counter.get_total_flops()
    with counter:
        logits[:, -1].sum().backward()
    backward = counter.get_total_flops()
    tokens, pairs = ROWS * LENGTH * sizes.layers, ROWS * LENGTH**2 * sizes.layers
    positions = ROWS * LENGTH
    # Rotary angles are a product too, of a few operations per token; the formula leaves them out.
    assert operations(sizes, Work(tokens, 0, pairs, 0, positions, 0)) == pytest.approx(
        forward, rel=2e-3
    )
    assert operations(sizes, Work(0, tokens, 0, pairs, 0, positions)) == pytest.approx(backward)


def example(relation, ids, slots):
    return Example(relation, tuple(ids), tuple(slots), (len(ids) - 1,), 9)


FIRST = example(0, [0, 0, 4, 0], [0, 1, -1, 2])
SECOND = example(0, [0, 0, 5, 6, 0], [0, 1, -1, -1, 2])


def test_a_prefix_comes_before_the_text_and_the_object_behind_it():
    assert of_prefix([FIRST], slots=3, layers=2) == Work(10, 10, 30, 30, 5, 5)


def test_each_row_by_itself():
    assert of_rows([FIRST, SECOND], layers=2) == Work(18, 18, 50, 50, 9, 9)


def test_what_rows_share_is_needed_once():
    # In all layers but the last: two shared tokens, then 2 and 3; in the last the targets alone.
    pairs = (1 + 2) + (3 + 4) + (3 + 4 + 5)
    step = of_least([FIRST, SECOND], layers=2)
    assert step == Work(7 + 2, 7 + 2, pairs + 9, pairs + 9, 2, 2)
    other = example(1, SECOND.ids, SECOND.slots)
    apart = of_least([FIRST, other], layers=2)
    assert apart == Work(9 + 2, 9 + 2, 25 + 9, 25 + 9, 2, 2)


def test_nothing_in_front_of_the_first_prompt_has_a_backward_pass():
    behind = example(0, [4, 5, 0], [-1, -1, 0])
    assert of_rows([behind], layers=1) == Work(3, 1, 6, 3, 3, 3)
    assert of_least([behind], layers=2) == Work(3 + 1, 1 + 1, 6 + 3, 3 + 3, 1, 1)
