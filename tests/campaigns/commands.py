"""Command lines with values that nobody should type."""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.experiments.fact_bert.config import FactBertConfig
from ptune_scale.experiments.layouts.cli import _parse as parse_layout
from ptune_scale.experiments.paper.cli import main as paper
from ptune_scale.experiments.prompt_study.launcher import PROGRAM as STUDY
from ptune_scale.flags import flags_of
from ptune_scale.lama.launcher import PROGRAM as LAMA
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.parser import Parser
from ptune_scale.plan.cli import _main as plan
from ptune_scale.run.convert import _convert as convert
from ptune_scale.run.site import check_output
from ptune_scale.superglue.launcher import PROGRAM as SUPERGLUE
from ptune_scale.tune.launcher import PROGRAM as TUNE
from ptune_scale.tune.predict import PROGRAM as PREDICT

ODD = (
    *("", " ", "--", "-", "-1", "-2", "0", "1", "3", "1.5", "nan", "NaN", "inf", "-inf", "1e400"),
    *("1e-400", "1_000", "０", "9" * 30, "9" * 5000, "-" + "9" * 30, "0x10", "1e3", "true", "on"),
    *("None", "x", "a,b", ",", "=", "a=", "=b", "a=b,a=c", "\0", "\udcff", "a\nb", "/", ".", "~"),
    *("/dev/null", "/proc/self/mem", "[P]*99999999999 [X] [Y]", "[P]*0 [X] [Y]", "[Y]", "[X] [Y]"),
    *("(99999999999, sub, obj)", "{", "{a|b} [Y]", "all", "none", "x" * 5000, "..", "hf:", "hf:x"),
    *("(3, 3, 3)", "(" * 500, "2:2:1:0", "1:1:1:1:1", "9:9:9:9", "1e18GB", "0GB", "GB"),
)


def run_line(place: Path, chance: Random) -> Callable[[], object]:
    """A command line with one to three odd values, and what takes it as far as ranks."""
    name = chance.choice(list(_COMMANDS))
    return _COMMANDS[name](place, chance)


def _program(program: Any, base: Callable[[Path], dict[str, str]]) -> Callable[..., Any]:
    def make(place: Path, chance: Random) -> Callable[[], object]:
        words = _odd(base(place), list(program.config.flags()), chance)

        def run() -> object:
            typed = program.parse(words)
            config = program.settle(typed)
            checked = program.check(config)
            if hasattr(config, "run"):
                check_output(config.run)
            return launch.needs_relaunch(config.parallel.num_gpus), checked

        return run

    return make


def _alone(
    base: Callable[[Path], dict[str, str]],
    names: list[str],
    run: Callable[[list[str]], object],
) -> Callable[..., Any]:
    def make(place: Path, chance: Random) -> Callable[[], object]:
        words = _odd(base(place), names, chance)
        return lambda: run(words)

    return make


def _odd(given: Mapping[str, str], names: list[str], chance: Random) -> list[str]:
    flags = dict(given)
    for _ in range(chance.randint(1, 3)):
        flags[chance.choice([*names, *given])] = chance.choice(ODD)
    joined = chance.random() < 0.5
    words: list[str] = []
    for name, value in flags.items():
        words += [f"--{name}={value}"] if joined else [f"--{name}", value]
    return words


def _bench(words: list[str]) -> object:
    parser = Parser("bench", "")
    for section in BenchSections.sections().values():
        parser.add_flags(section)
    return BenchSections.from_flags(vars(parser.parse_args(words)))


def _fact_bert(words: list[str]) -> object:
    parser = Parser("fact_bert", "")
    parser.add_flags(FactBertConfig)
    return FactBertConfig(**vars(parser.parse_args(words)))


def _layouts(words: list[str]) -> object:
    return [parse_layout(text) for text in words[-1].removeprefix("--layouts=").split(",")]


def _model(place: Path) -> dict[str, str]:
    return {"model": str(place / "model"), "dtype": "float32"}


_COMMANDS = {
    "tune": _program(TUNE, lambda p: {**_model(p), "task": str(p / "own" / "where.toml")}),
    "tune, flags": _program(
        TUNE,
        lambda p: {
            **_model(p),
            "train": str(p / "own" / "train.jsonl"),
            "pattern": "{place} [P]*2 [Y]",
        },
    ),
    "lama": _program(
        LAMA, lambda p: {**_model(p), "data_dir": str(p / "plain"), "relations": "P36"}
    ),
    "superglue": _program(
        SUPERGLUE, lambda p: {**_model(p), "data_dir": str(p / "superglue"), "tasks": "CB"}
    ),
    "predict": _program(
        PREDICT,
        lambda p: {
            "prompt": str(p / "run" / "out" / "prompt"),
            "input": str(p / "answers" / "new.jsonl"),
            "output": str(p / "not_there.jsonl"),
        },
    ),
    "prompt_study": _program(
        STUDY, lambda p: {**_model(p), "data_dir": str(p / "plain"), "relation": "P36"}
    ),
    "plan": _alone(
        lambda p: {"model": str(p / "model"), "num_gpus": "2"},
        ["gpu_memory", "tensor_parallel", "pipeline_parallel", "zero_stage", "tasks", "slots"]
        + ["batch_size", "sequence_length", "dtype", "encoder", "encoder_placement"],
        plan,
    ),
    "convert": _alone(
        lambda p: {"from": str(p / "megatron"), "to": str(p / "own")},
        ["num_shards", "max_shard_size", "dtype"],
        convert,
    ),
    "bench": _alone(lambda p: {}, list(BenchSections.flags()), _bench),
    "fact_bert": _alone(lambda p: {}, list(flags_of(FactBertConfig)), _fact_bert),
    "layouts": _alone(lambda p: {"layouts": "2:1:1:3"}, ["layouts"], _layouts),
    "paper": _alone(
        lambda p: {},
        ["row", "table", "weights", "data_dir", "fewglue_dir", "superglue_dir", "model"],
        lambda words: paper(["--list", *words]),
    ),
}
