# PYTHON_ARGCOMPLETE_OK
"""The command ``ptune``: its first word names what is to be done."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from ptune_scale import __version__
from ptune_scale.flags import unknown_name
from ptune_scale.parallel.launch.guard import guarded
from ptune_scale.parser import COMPLETING

COMMANDS = {
    "tune": ("ptune_scale.tune.launcher", "tune prompts for tasks of your own"),
    "predict": ("ptune_scale.tune.predict", "answer the records of a file with tuned prompts"),
    "serve": ("ptune_scale.serve.launcher", "hold a model for many who tune prompts against it"),
    "eval": ("ptune_scale.evaluate.launcher", "measure a tuned prompt, also in lm-eval's tasks"),
    "export": ("ptune_scale.run.export", "write a tuned prompt for other software"),
    "lama": ("ptune_scale.lama.launcher", "facts: tuned prompts beside other ways to ask"),
    "superglue": ("ptune_scale.superglue.launcher", "SuperGLUE, few-shot or whole"),
    "doctor": ("ptune_scale.run.doctor", "what is installed, and what will work here"),
    "plan": ("ptune_scale.plan.cli", "lay a model out over GPUs, without using any"),
    "convert": ("ptune_scale.run.convert", "convert a fairseq Megatron checkpoint, or back"),
    "bench": ("ptune_scale.experiments.bench.cli", "measure facts per second beside other ways"),
    "serving": ("ptune_scale.experiments.serving.cli", "measure a server under many clients"),
    "layouts": ("ptune_scale.experiments.layouts.cli", "compare layouts on one job"),
    "paper": ("ptune_scale.experiments.paper.cli", "run rows of the paper's tables"),
    "prompt_study": (
        "ptune_scale.experiments.prompt_study.launcher",
        "compare many manual prompts for one task",
    ),
    "fact_bert": ("ptune_scale.experiments.fact_bert.cli", "teach a small BERT facts, to tune it"),
}
"""By name: the module whose ``main(arguments)`` it is, and what it is for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Args:
        arguments: None for those of the process.
    """
    if COMPLETING in os.environ:
        return _complete()
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if name in COMMANDS:
        return run(name, rest)
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"ptune {__version__}")
        return 0
    print(
        f"ptune: error: {unknown_name(name, COMMANDS)} (ptune --help lists them)", file=sys.stderr
    )
    return 2


def _complete() -> int:
    """What a shell asks for when the tab key is pressed, through argcomplete."""
    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    # The words that are typed whole; what is being typed is none of them.
    before = f"{line}|".split()[1:-1]
    if before and before[0] in COMMANDS:
        # The command's own parser goes on, from its second word; see ``Parser.parse_args``.
        os.environ[COMPLETING] = "2"
        return importlib.import_module(COMMANDS[before[0]][0]).main([])
    import argcomplete

    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=COMMANDS)
    argcomplete.autocomplete(parser)
    return 0


def run(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command of a name; returns the exit status.

    Args:
        name: one of ``COMMANDS``.
        arguments: None for those of the process.
    """
    # Threads that spin long while they wait take the cores from whatever else is busy there, and
    # may make a run many times slower; a short spin costs nothing. Read when PyTorch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    with guarded(name):
        return importlib.import_module(COMMANDS[name][0]).main(arguments)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ptune COMMAND [--FLAG VALUE ...]",
            "",
            "P-tuning of frozen language models of any size.",
            "",
            *lines,
            "",
            "ptune COMMAND --help shows its flags.",
        ]
    )
