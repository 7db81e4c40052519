"""From a command line to a directory of measurements."""

import argparse
import importlib.util
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from ptune_scale.backbone.shortcuts import Shortcuts
from ptune_scale.bench import report
from ptune_scale.bench.ablations import ABLATIONS, FASTEST
from ptune_scale.bench.case import Case
from ptune_scale.bench.comparison import Bench
from ptune_scale.bench.config import BenchConfig
from ptune_scale.bench.sections import SECTIONS
from ptune_scale.check import check
from ptune_scale.cli import Parser, add_flags
from ptune_scale.command import RUNS
from ptune_scale.config import DataConfig, LamaConfig, ModelConfig, PromptConfig, TrainConfig
from ptune_scale.errors import UserError

_DESCRIPTION = """Measure facts per second of P-tuning: this package, PEFT, and the published code's
way, all on the same facts in one process, in turn."""
_EXAMPLES = """examples:
  %(prog)s --output_dir out
  %(prog)s --data_dir LAMA --relations P103,P17 --sections main,batch,length --output_dir out
  %(prog)s --model DIR --rounds 3 --facts_per_round 64 --sections main,ablations --output_dir out

Nearly all of the time goes into --rounds x --facts_per_round facts of each side. Ctrl-C or SIGTERM
ends it and writes what is finished.
"""
_PROMPT = ("template", "encoder", "encoder_sharing", "prompt_start")
_TRAIN = (
    "batch_size",
    "batch_tokens",
    "relations_per_batch",
    "rows_per_forward",
    "fused_adam",
    "seed",
)
_DATA = ("data_dir", "relations", "on_bad_record")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return _bench(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"bench.py: error: {error}", file=sys.stderr)
        return 2


def _bench(arguments: list[str]) -> int:
    typed = vars(_build_parser().parse_args(arguments))
    names = BenchConfig.__dataclass_fields__
    config = BenchConfig(**{name: value for name, value in typed.items() if name in names})
    flags = FASTEST | {name: value for name, value in typed.items() if name not in names}
    unknown = [name for name in config.section_names if name not in SECTIONS]
    if unknown or not config.section_names:
        raise UserError(f"--sections {config.sections!r}: choose from {', '.join(SECTIONS)}")
    unknown = [name for name in config.ablation_names if name not in ABLATIONS]
    if unknown:
        raise UserError(f"--ablations {config.ablations!r}: choose from {', '.join(ABLATIONS)}")
    if importlib.util.find_spec("peft") is None:
        raise UserError("ours is compared with PEFT, which is not installed: pip install peft")
    if flags.get("weight_bits", "full") != "full":
        raise UserError("--weight_bits: the other sides have full weights, so ours has them too")
    output = Path(config.output_dir or f"{RUNS}/bench-{time.strftime('%Y%m%d-%H%M%S')}")
    _claim(output)
    facts = check(LamaConfig.from_flags({**flags, "output_dir": str(output)}))
    torch.set_num_threads(config.threads)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench = Bench(config, Case(flags, facts))
    bench.case.check()
    return _run(bench, output)


def _run(bench: Bench, output: Path) -> int:
    """Run all sections; what is finished is written, whatever ends them."""
    results: dict[str, dict[str, Any]] = {}
    status = 0
    try:
        for name in bench.config.section_names:
            SECTIONS[name].run(bench, results.setdefault(name, {}))
    except KeyboardInterrupt:
        status = 130
    finally:
        finished = {name: result for name, result in results.items() if _is_some(result)}
        _write(finished, bench, output)
    if status:
        left = "what was finished is written" if finished else "no round was finished"
        print(f"bench.py: stopped; {left}", file=sys.stderr)
    return status


def _is_some(result: dict[str, Any]) -> bool:
    """Whether a section got as far as to a number."""
    return any(result.get(key) for key in ("sides", "points", "skipped"))


def _write(results: dict[str, dict[str, Any]], bench: Bench, output: Path) -> None:
    if not results:
        return
    try:
        text = report.write(results, bench.config.threads, output)
    except OSError as error:
        raise UserError(f"results cannot be written to {output}: {error.strerror}") from error
    print(f"{text}\nresults in {output}/")


def _build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        "bench.py",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add_flags(parser.add_argument_group(BenchConfig.__doc__), BenchConfig)
    for section, names in (
        (ModelConfig, ()),
        (Shortcuts, ()),
        (DataConfig, _DATA),
        (PromptConfig, _PROMPT),
        (TrainConfig, _TRAIN),
    ):
        add_flags(parser.add_argument_group(section.__doc__), section, *names)
    return parser


def _claim(output: Path) -> None:
    """Make the directory.

    Raises:
        UserError: something is in it, or it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        is_used = any(output.iterdir())
    except OSError as error:
        raise UserError(f"--output_dir {output}: {error.strerror}") from error
    if is_used:
        raise UserError(f"--output_dir {output} is in use; choose another")
