"""Differences between layouts, and the memory that a process allocated."""

import mmap
import time

import pytest
import torch

from ptune_scale.experiments.layouts.compare import Comparison, table
from ptune_scale.experiments.layouts.memory import sampled_memory


def record(**changes):
    return {
        "layout": "single",
        "inputs": [torch.zeros(2), torch.zeros(2)],
        "losses": [torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0])],
        "gradients": [torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0])],
        "at_given": [],
        "prompts": torch.tensor([4.0, -8.0]),
        "local": [1000],
        "loading_bytes": [500],
        "element_size": 4,
        "seconds_per_step": 0.5,
        "bytes_per_step_and_rank": 0.0,
        **changes,
    }


def test_a_record_equals_itself():
    row = Comparison.of(record(), record(), 1)
    assert (row.loss, row.gradient, row.drift, row.prompts) == (0, 0, 0, 0)
    assert (row.ranks, row.largest_share, row.ideal_share) == (1, 1, 1)


def test_differences_are_relative_to_the_largest_of_the_step():
    other = record(
        layout="pp3",
        losses=[torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.5])],
        gradients=[torch.tensor([1.0, -2.5]), torch.tensor([0.5, 1.0])],
        at_given=[torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.9])],
        prompts=torch.tensor([4.0, -6.0]),
        local=[300, 450, 250],
        loading_bytes=[400, 2000, 100],
        bytes_per_step_and_rank=3e6,
    )
    row = Comparison.of(record(), other, 3)
    assert (row.layout, row.ranks) == ("pp3", 3)
    assert row.loss == pytest.approx(0.25)
    assert row.gradient == pytest.approx(0.1)
    assert row.drift == pytest.approx(0.25)
    assert row.prompts == pytest.approx(0.25)
    assert row.largest_share == pytest.approx(0.45)
    assert row.ideal_share == pytest.approx(1 / 3)
    assert row.loading_peak == pytest.approx(0.5)
    assert row.megabytes_per_step == pytest.approx(3)
    assert "| pp3 | 3 |" in table([row])


def test_another_number_of_steps_is_refused():
    with pytest.raises(ValueError, match="2 steps, the other 1"):
        Comparison.of(record(), record(losses=[torch.ones(2)]), 1)


def test_memory_that_was_given_back_was_sampled():
    size = 64 * 2**20
    # Pages of its own: what an allocator has kept from before would not be new memory.
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with sampled_memory() as sampled, mmap.mmap(-1, size, flags=private) as block:
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1
        until = len(sampled) + 2
        while len(sampled) < until:
            time.sleep(0.005)
    with sampled_memory() as nothing:
        pass
    assert max(sampled) - sampled[0] > 0.5 * size > max(nothing) - nothing[0]
