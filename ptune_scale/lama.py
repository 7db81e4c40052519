"""The LAMA job from command line to results; ``launchers/lama.py`` only calls ``main``."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock, Timeout

from ptune_scale import checkpoint, report
from ptune_scale.answer import load_prompt
from ptune_scale.backbone import find_model, gguf, load_backbone
from ptune_scale.cli import parse
from ptune_scale.config import LamaConfig, config_from_flags
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.embedded import load_embedded
from ptune_scale.data.facts import FactSet
from ptune_scale.data.lama import load_lama, read_vocab
from ptune_scale.data.prepare import prepare
from ptune_scale.errors import UserError
from ptune_scale.job import Job
from ptune_scale.methods import METHODS
from ptune_scale.parallel import Stopped, StopSignal, World, launch, lifeline, parallelize, zero3
from ptune_scale.parallel.parallelize import layout_name
from ptune_scale.template import Template
from ptune_scale.train import with_default_steps

# Two runs of these flags train the same prompts; a resumed run must agree on all of them.
_SHAPING = (
    "dtype",
    "template",
    "encoder",
    "encoder_sharing",
    "prompt_start",
    "batch_size",
    "relations_per_batch",
    "max_steps",
    "max_epochs",
    "lr",
    "schedule",
    "warmup",
    "weight_decay",
    "max_grad_norm",
    "eval_every",
    "patience",
    "seed",
    "dev_facts",
    "candidates",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    speaks = launch.is_first_rank()
    try:
        typed, flags = parse(sys.argv[1:] if arguments is None else arguments, "lama.py")
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        if hasattr(typed, "prompt"):
            return _ask(typed, flags)
        config = config_from_flags(flags)
        facts = check(config)
        if launch.needs_relaunch(config.run.num_gpus):
            launch.relaunch(config.run.num_gpus)
        return _run(config, facts, flags)
    except UserError as error:
        if speaks:
            print(f"lama.py: error: {error}", file=sys.stderr, flush=True)
        return 2
    except Stopped as stopped:
        if speaks:
            print(f"lama.py: {stopped}; --resume_from goes on from here", file=sys.stderr)
        return stopped.exit_status


def check(config: LamaConfig) -> FactSet:
    """Everything that can be found wrong before ranks start or anything is written.

    Raises:
        UserError: the first thing that is wrong.
    """
    unknown = [name for name in config.methods if name not in METHODS]
    if unknown or not config.methods:
        raise UserError(f"--method {config.prompt.method!r}: choose from {', '.join(METHODS)}")
    if not Template.parse(config.prompt.template).num_slots:
        raise UserError(f"template {config.prompt.template!r} has no prompt slot [P] to train")
    data = config.data
    facts = (
        load_embedded()
        if data.data_dir == "embedded"
        else load_lama(Path(data.data_dir), data.on_bad_record)
    ).select([name.strip() for name in data.relations.split(",") if name.strip()])
    if data.candidates not in ("auto", "full_vocab", "common_vocab", "relation"):
        read_vocab(Path(data.candidates))
    if data.candidates == "common_vocab" and facts.common_vocab is None:
        raise UserError(f"--candidates common_vocab: {facts.source} has no such list")
    if config.run.deepspeed_config:
        dtype = getattr(torch, config.model.dtype)
        zero3.read_config(Path(config.run.deepspeed_config), dtype)
    source = find_model(config.model.model)
    if source.is_gguf:
        gguf.converted_directory(source.path, getattr(torch, config.model.dtype))
    # Other ranks would see what the first one has begun to write.
    if config.run.output_dir and launch.is_first_rank():
        _check_output(Path(config.run.output_dir), config.run.resume_from)
    return facts


def _check_output(output: Path, resume_from: str) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(f"--output_dir {output} is not a directory")
    resumed = checkpoint.run_directory(Path(resume_from)) if resume_from else None
    holds_something = any(path.name != ".lock" for path in output.iterdir())
    if holds_something and output.resolve() != resumed:
        raise UserError(
            f"--output_dir {output} is in use; choose another, "
            f"or go on with its run by --resume_from {output}"
        )


def _ask(typed: Any, flags: dict[str, Any]) -> int:
    if not hasattr(typed, "subject") or not hasattr(typed, "relation"):
        raise UserError("--prompt needs --subject and --relation")
    prompt = load_prompt(typed.prompt, model=flags.get("model"))
    for place, answer in enumerate(prompt.answer(typed.subject, typed.relation), start=1):
        print(f"{place}. {answer.text:20s} {100 * answer.probability:5.1f} %")
    return 0


def _run(config: LamaConfig, facts: FactSet, flags: dict[str, Any]) -> int:
    world = World.start()
    lifeline.hold()
    stop = StopSignal(world)
    stop.listen()
    output = Path(config.run.output_dir or time.strftime("runs/%Y%m%d-%H%M%S"))
    lock = None
    if world.is_main:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"--output_dir {output} is in use by another run") from None
    job = _build(config, facts, flags, world, stop, output)
    names = list(dict.fromkeys(["majority", *config.methods]))
    results = [result for name in names for result in METHODS[name](job)]
    if world.is_main:
        summary = report.build_results(job, results, layout_name(world))
        report.write(summary, output)
        print(f"\n{report.table(summary)}\n\n{report.notes(summary)}\n\nresults in {output}/")
        if "ptuning" in config.methods:
            print(
                f"ask it: python {sys.argv[0]} --prompt {output}/prompt "
                f"--relation {job.facts.relations[0].id} --subject NAME"
            )
    if lock is not None:
        lock.release()
    world.finish()
    return 0


def _build(
    config: LamaConfig,
    facts: FactSet,
    flags: dict[str, Any],
    world: World,
    stop: StopSignal,
    output: Path,
) -> Job:
    backbone = load_backbone(
        config.model.model,
        dtype=getattr(torch, config.model.dtype),
        attention=config.model.attention,
    )
    tokens = backbone.tokens
    Template.parse(config.prompt.template).check(tokens.kind)
    name, words = _candidate_words(config.data.candidates, facts)
    answers = None if words is None else tokens.word_tokens(words)
    prepared = prepare(
        facts,
        tokens,
        answers=answers,
        dev_facts=config.data.dev_facts,
        test_facts=config.data.test_facts,
    )
    vocab_size = backbone.lm.model.get_output_embeddings().weight.shape[0]
    candidates = Candidates(
        vocab_size,
        {name: answers, "full_vocab": None},
        {"relation": [relation.train_objects for relation in prepared.relations]},
        first=name,
    )
    train = with_default_steps(config.train, len(prepared.relations))
    flags = {**flags, "max_steps": train.max_steps}
    config = config_from_flags(flags)
    values = {k: v for section in config.as_dict().values() for k, v in section.items()}
    identity = {key: values[key] for key in _SHAPING} | {
        "relations": [relation.id for relation in prepared.relations],
        "facts": facts.fingerprint(),
        "backbone": backbone.fingerprint,
    }
    resume_from = Path(config.run.resume_from) if config.run.resume_from else None
    if resume_from is not None:
        saved = checkpoint.read_meta(resume_from)["identity"]
        checkpoint.check_identity(saved, identity, resume_from)
    function = parallelize(
        backbone.lm,
        world,
        deepspeed_config=Path(config.run.deepspeed_config) if config.run.deepspeed_config else None,
        rows_per_forward=config.train.rows_per_forward or None,
    )
    return Job(
        config=config,
        facts=prepared,
        candidates=candidates,
        tokens=tokens,
        function=function,
        stop=stop,
        output_dir=output,
        model_name=backbone.name,
        fingerprint=backbone.fingerprint,
        hidden_size=backbone.hidden_size,
        embedding_std=backbone.embedding_std,
        embedding_mean=backbone.embedding_mean,
        identity=identity,
        flags={k: v for k, v in flags.items() if k not in ("resume_from", "output_dir")},
        resume_from=resume_from,
    )


def _candidate_words(choice: str, facts: FactSet) -> tuple[str, tuple[str, ...] | None]:
    if choice == "auto":
        choice = "common_vocab" if facts.common_vocab else "full_vocab"
    if choice == "common_vocab":
        return choice, facts.common_vocab
    if choice in ("full_vocab", "relation"):
        return choice, None
    return Path(choice).name, read_vocab(Path(choice))
