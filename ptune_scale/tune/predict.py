"""The command ``predict``: tuned prompts over a file; ``launchers/predict.py`` calls ``main``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ptune_scale.backbone.options import Attention, Dtype
from ptune_scale.flags import flag
from ptune_scale.run.command import Program, run_command
from ptune_scale.run.config import ParallelConfig, RanksConfig

if TYPE_CHECKING:
    from ptune_scale.run.site import Site
    from ptune_scale.tune.answer_file import CheckedAnswers


@dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """what is answered"""

    prompt: str = flag("", "exported prompt: the prompt folder of a run", common=True)
    input: str = flag("", "records (.jsonl .json .csv .parquet)", common=True)
    output: str = flag(
        "", "the same records with 'answer' and 'score' added, one JSON object a line", common=True
    )
    task: str = flag(
        "",
        "which task of the prompt; by default each record's field 'task', or the only one",
        common=True,
    )
    on_bad_record: Literal["skip", "stop"] = flag("stop", "what to do with an unusable record")


@dataclass(frozen=True, kw_only=True)
class UseConfig:
    """the model"""

    model: str = flag("", "where the backbone is now; by default as in training", common=True)
    dtype: Dtype = flag("bfloat16", "precision of the backbone", common=True)
    attention: Attention = flag("eager", "attention implementation")
    batch_size: int = flag(64, "rows in a batch, over all ranks", at_least=1)
    batch_tokens: int = flag(
        16384, "most tokens in a batch, padding counted; 0: no limit", at_least=0
    )
    chunk: int = flag(
        1024, "records between two writes: what is lost at most when it is stopped", at_least=1
    )


@dataclass(frozen=True, kw_only=True)
class PredictConfig(RanksConfig):
    """Everything that an answering run can be told."""

    answer: AnswerConfig = AnswerConfig()
    use: UseConfig = UseConfig()
    parallel: ParallelConfig = ParallelConfig()


def _check(config: PredictConfig) -> CheckedAnswers:
    from ptune_scale.tune.answer_file import check

    return check(config)


def _run(checked: CheckedAnswers, site: Site) -> None:
    from ptune_scale.tune.answer_file import run

    run(checked, site)


PROGRAM = Program(
    "predict",
    "Answer the records of a file with tuned prompts, in any layout. A run that was stopped goes "
    "on when it is called again.",
    """  %(prog)s --prompt out/prompt --input new.jsonl --output answers.jsonl
  %(prog)s --prompt out/prompt --task cb --input new.csv --output answers.jsonl --num_gpus 2
""",
    PredictConfig,
    _check,
    _run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments)
