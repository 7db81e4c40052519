"""What PEFT's adapters answer after some processor time."""

import importlib.util

import pytest

from ptune_scale.errors import UserError
from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.experiments.bench.facts import read_facts
from ptune_scale.experiments.bench.report import write
from ptune_scale.experiments.bench.sections import Bench

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed"
)


@needs_peft
def test_each_rate_trains_for_the_time_asked_and_answers_all_facts(
    tiny_llama, tiny_facts, tmp_path
):
    flags = {"model": str(tiny_llama), "data_dir": str(tiny_facts), "batch_size": 4}
    flags |= {"minutes": 0.01, "peft_rates": "0.001,0.01", "test_facts": 2}
    config = BenchSections.from_flags(flags)
    case = Case.of(config, read_facts(config.data))
    result: dict = {}
    Bench(config, case, ()).run("quality", result)
    assert [point["rate"] for point in result["rates"]] == [0.001, 0.01]
    for point in result["rates"]:
        assert point["records"] > 0 and point["cpu_seconds"] >= 0.6
        assert set(point["test"]) == {task.name for task in case.tasks}
        assert all(0 <= right <= asked <= 2 for right, asked in point["test"].values())
    table = write({"quality": result}, 1, tmp_path)
    assert "learning rate" in table and table.count("| * |") >= 1


def test_learning_rates_are_checked_before_anything_is_loaded(tiny_llama):
    with pytest.raises(UserError, match="peft_rates"):
        BenchSections.from_flags({"model": str(tiny_llama), "peft_rates": "0.1,fast"})
