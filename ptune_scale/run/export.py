"""The command ``export``: a tuned prompt in a format of other software."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.flags import names_in
from ptune_scale.parser import Parser, runnable
from ptune_scale.run.alone import run_alone
from ptune_scale.use.formats import FORMATS

_EXAMPLES = """  %(prog)s --prompt out/prompt --to model --output_dir served
  %(prog)s --prompt out/prompt --to peft --output_dir adapter --check new.jsonl
  %(prog)s --prompt out/prompt --to vllm --input new.jsonl --output_dir requests

formats:
  peft    a PEFT prompt-tuning folder; slots have to stand before all fields
  tokens  a PEFT folder of trainable tokens with its tokenizer; slots anywhere
  model   an ordinary checkpoint with a row for each slot; any engine, slots anywhere
  gguf    the same as a GGUF file, of a model that is one; for llama.cpp
  vllm    requests for vLLM with embeddings in them, offline and HTTP
  npy     an array (slots, hidden size) for each task
"""
_DTYPES = ("float32", "bfloat16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_alone("export", lambda: _export(_build_parser().parse_args(arguments)))


def _build_parser() -> Parser:
    parser = Parser(
        "export", "Write a tuned prompt in a format that other software takes.", _EXAMPLES
    )
    add = parser.add_argument
    add(
        "--prompt", required=True, metavar="DIR", help="exported prompt: the prompt folder of a run"
    )
    add("--to", required=True, choices=list(FORMATS), help="format")
    add("--output_dir", type=Path, required=True, metavar="DIR", help="a new directory")
    add("--task", default="", help="comma-separated tasks of the prompt (default: all)")
    add("--model", default="", help="where the backbone is now (default: as in training)")
    add("--dtype", choices=_DTYPES, default="float32", help="of what is written (default: float32)")
    add("--input", default="", metavar="FILE", help="records that requests are written for")
    add(
        "--check",
        default="",
        metavar="FILE",
        help="records that are answered by both, ours and theirs, and compared",
    )
    return parser


def _export(typed: Any) -> int:
    target = typed.output_dir
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"--output_dir {target} is there already; choose a new directory")

    import torch
    import transformers

    from ptune_scale.backbone import load_backbone
    from ptune_scale.backbone.shortcuts import PLAIN
    from ptune_scale.files import write_directory
    from ptune_scale.use.export import PromptExport
    from ptune_scale.use.formats.compare import compare
    from ptune_scale.use.formats.format import check_package
    from ptune_scale.use.prompt import TunedPrompt

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    chosen = FORMATS[typed.to]
    if chosen.needs:
        check_package(f"--to {chosen.name}", chosen.needs)
    export = PromptExport.load(Path(typed.prompt))
    rows = [export.row(name) for name in names_in(typed.task)] or range(len(export.tasks))
    if chosen.needs_records and not typed.input:
        raise UserError(f"--to {chosen.name} writes requests: give records by --input")
    dtype = getattr(torch, typed.dtype)
    model = typed.model or export.model
    prompt = TunedPrompt(export, load_backbone(model, dtype=dtype, shortcuts=PLAIN))
    chosen.check(prompt, rows)
    records = _records(prompt, rows, typed.input)
    asked = _records(prompt, rows, typed.check)
    write_directory(target, lambda scratch: chosen.write(prompt, rows, records, scratch))
    print(f"{chosen.name}: {target}/")
    if not typed.check:
        print(f"compare its answers with ours: {runnable('export')} ... --check RECORDS")
        return 0
    found = compare(prompt, asked, chosen.load(prompt, rows, target))
    print(
        f"read back: {found.same} of {found.records} answers are the same, probabilities differ by "
        f"at most {found.difference:.1g}"
    )
    return 0 if found.same == found.records else 1


def _records(prompt: Any, rows: Sequence[int], path: str) -> dict[int, list[Any]]:
    """The records of a file, by the row of the prompt matrix that asks about them.

    Raises:
        UserError: one cannot be asked, or there is none.
    """
    from ptune_scale.task.files import read_rows

    found: dict[int, list[Any]] = {}
    if not path:
        return found
    only = prompt.export.tasks[rows[0]].name if len(rows) == 1 else None
    for number, raw in enumerate(read_rows(path)):
        try:
            row = prompt.row_of(raw.values, only)
        except UserError as error:
            raise UserError(f"{raw.source}: {error}") from error
        if row in rows:
            found.setdefault(row, []).append(prompt.read(raw, number, row))
    if not found:
        raise UserError(f"{path} has no record of the tasks that are exported")
    return found
