"""A model and facts as small as can be, and commands that tune prompts on them."""

import contextlib
import json
import os
import sys
from pathlib import Path

import psutil
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.conftest import CAPITALS, CONTINENTS, WORDS
from tests.tiny import byte_pairs, save

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "launchers" / "lama.py"
STEPS = 60
MARK = "PTUNE_SCALE_CAMPAIGN"
"""The variable by which all processes of a job are known, wherever they went."""


def make(directory: Path) -> None:
    """Write ``model/`` and ``facts/``."""
    tokenizer = byte_pairs(" ".join(WORDS))
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=end,
        eos_token_id=end,
    )
    torch.set_num_threads(1)
    save(GPT2LMHeadModel, config, tokenizer, directory / "model")
    facts = directory / "facts"
    facts.mkdir()
    relations = [
        {"relation": "P36", "label": "capital", "template": "the capital of [X] is [Y] ."},
        {"relation": "P30", "label": "continent", "template": "[X] is located in [Y] ."},
    ]
    (facts / "relations.jsonl").write_text("\n".join(map(json.dumps, relations)))
    for part, prefix in (("train", ""), ("test", "the ")):
        (facts / part).mkdir()
        for relation, known in (("P36", CAPITALS), ("P30", CONTINENTS)):
            lines = [
                json.dumps({"sub_label": prefix + subject, "obj_label": answer})
                for subject, answer in known.items()
            ]
            (facts / part / f"{relation}.jsonl").write_text("\n".join(lines))


def command(directory: Path, output: Path, ranks: int, *more: str) -> list[str]:
    """Tune prompts on what ``make`` wrote; on one rank without any launcher."""
    flags = {
        "model": directory / "model",
        "data_dir": directory / "facts",
        "dtype": "float32",
        "method": "ptuning",
        "batch_size": 8,
        "lr": "1e-2",
        "warmup": 0,
        "patience": 0,
        "max_steps": STEPS,
        "checkpoint_every": 5,
        "output_dir": output,
    }
    if ranks > 1:
        flags["num_gpus"] = ranks
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, str(LAUNCHER), *words, *more]


def resuming(output: Path) -> list[str]:
    """Go on with a run."""
    return [sys.executable, str(LAUNCHER), "--resume_from", str(output)]


def environment(**more: str) -> dict[str, str]:
    """One thread a rank, and the code of this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def prompt_of(output: Path) -> bytes | None:
    """What a run came to; None where it came to nothing."""
    path = output / "prompt" / "prompt.safetensors"
    return path.read_bytes() if path.is_file() else None


def marked(mark: str) -> list[psutil.Process]:
    """Whatever still runs of a job."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end(mark: str) -> None:
    """Kill it."""
    for process in marked(mark):
        with contextlib.suppress(psutil.Error):
            process.kill()
