"""Everything that the program reads from disk: a good input of each, and what reads it."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ptune_scale.backbone import load_backbone
from ptune_scale.experiments.fact_bert.sentences import sentences_to_teach
from ptune_scale.experiments.prompt_study.config import PromptStudyConfig
from ptune_scale.experiments.prompt_study.study import check as check_study
from ptune_scale.lama.check import check as check_lama
from ptune_scale.lama.check import read_facts
from ptune_scale.lama.config import FactsConfig, LamaConfig
from ptune_scale.parallel import Degrees, Mesh, StopSignal, World, zero3
from ptune_scale.plan.request import find_config
from ptune_scale.run.settle import settle
from ptune_scale.run.site import Site
from ptune_scale.superglue.check import check as check_superglue
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.train.session import load
from ptune_scale.tune import launcher
from ptune_scale.tune.answer_file import Begun
from ptune_scale.tune.answer_file import check as check_predict
from ptune_scale.tune.check import check as check_tune
from ptune_scale.tune.config import OwnConfig, PredictConfig
from ptune_scale.tune.job import Job
from ptune_scale.tune.prompts import build_trainer
from ptune_scale.use.export import PromptExport
from ptune_scale.use.prompt import TunedPrompt
from tests.campaigns import good
from tests.campaigns.damage import Damage, json_line, json_value, odd_json, toml_value

_SMALL = {"dtype": "float32", "max_steps": 2, "eval_every": 1, "encoder": "mlp", "lr": 0.01}
SUPERGLUE = ("BoolQ", "CB", "COPA", "MultiRC", "RTE", "WiC", "WSC")


@dataclass(frozen=True)
class Reader:
    """Something that is read.

    Attributes:
        name: for the table.
        root: directory of a good input.
        files: those in it that are damaged.
        read: reads all of it from a directory.
        own: damage that fits what is in the files, beside that of bytes and links.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    read: Callable[[Path], object]
    own: tuple[Damage, ...] = field(default=(json_value,))


def readers(place: Path) -> list[Reader]:
    """Write a good input for each reader below a directory."""
    model = str(good.model(place / "model"))
    own = good.own(place / "own")
    run = _run(place / "run", own, model)
    prompt = run / "prompt"

    def tune(directory: Path, **flags: Any) -> object:
        return check_tune(OwnConfig.from_flags({**_SMALL, "model": model, **flags}))

    def lama(directory: Path) -> object:
        flags = {"data_dir": str(directory), "relations": "P36,P30", "model": model}
        method = "manual,ptuning,ptuning_anchored,lpaqa"
        return check_lama(LamaConfig.from_flags({**_SMALL, **flags, "method": method}))

    def superglue(directory: Path, task: str) -> object:
        flags = {"data_dir": str(directory), "tasks": task, "model": model}
        method = "manual,ptuning,ipet,incontext"
        return check_superglue(SuperglueConfig.from_flags({**_SMALL, **flags, "method": method}))

    def study(directory: Path, **flags: Any) -> object:
        config = {"data_dir": str(directory), "model": model, "dtype": "float32", **flags}
        return check_study(PromptStudyConfig.from_flags(config))

    def predict(directory: Path) -> object:
        asked = {"prompt": str(prompt), "input": str(directory / "new.jsonl")}
        flags = {**asked, "output": str(directory / "a.jsonl"), "dtype": "float32"}
        return check_predict(PredictConfig.from_flags(flags))

    def ask(directory: Path) -> object:
        export = PromptExport.load(directory)
        tuned = TunedPrompt(export, load_backbone(export.model))
        name = export.tasks[0].name
        return tuned.predict([{"place": "Norway"}], name)

    def shards(directory: Path) -> object:
        backbone = load_backbone(str(directory))
        return [backbone.weights.read(name) for name in backbone.weights.names()], backbone.kind

    def new(directory: Path) -> Path:
        good.lines(directory / "new.jsonl", [{"place": place} for place in good.CAPITALS])
        return directory

    superglue_data = good.superglue(place / "superglue")
    plain, published = good.facts(place / "plain"), good.facts(place / "lama", published=True)
    relation_files = tuple(f"{p}/P36.jsonl" for p in ("train", "dev", "test"))
    published_files = tuple(f"fact-retrieval/original/{f}.jsonl" for f in ("P36/train", "P36/test"))
    prompts = tuple(f"prompts/lpaqa/{k}/P36.jsonl" for k in ("mine", "paraphrase"))
    words = ("common_vocab_cased.txt",)
    study_place = good.facts(place / "study")
    (study_place / "prompts.txt").write_text('[X] is in [Y]\n{"template": "[X] has [Y]"}\n')
    patterns = '{premise...} {hypothesis}? [Y]\n{"pattern": "{premise...} [Y]"}\n'
    study_tasks = good.superglue(place / "study_tasks")
    (study_tasks / "patterns.txt").write_text(patterns)
    taught = good.facts(place / "taught")
    sentences = taught / "prompts" / "lpaqa" / "manual_paraphrase" / "P36.txt"
    sentences.parent.mkdir()
    sentences.write_text("[X] has the town [Y] .\n")
    answers, asked = _begun(new(place / "answers"), prompt), new(place / "asked")
    configs = place / "configs"
    configs.mkdir()
    (configs / "flags.toml").write_text(good.CONFIG)
    (configs / "zero3.json").write_text(zero3.DEFAULT_CONFIG.read_text())
    facts_config = FactsConfig(data_dir=str(taught), relations="P36")

    def teach(directory: Path) -> object:
        return sentences_to_teach(read_facts(facts_config).relations, str(directory), 2)

    def own_data(name: str, *, candidates: str = "", pattern: str = "{place} [P] [Y]") -> Reader:
        def read(directory: Path) -> object:
            flags = {"train": str(directory / name), "pattern": pattern}
            if candidates:
                flags["candidates"] = str(directory / candidates)
            return tune(directory, **flags)

        odd = (json_value,) if name.endswith(".json") else (json_line,)
        odd = odd if ".json" in name and not candidates else ()
        label = "candidate list" if candidates else f"own data, {name}"
        return Reader(label, own, (candidates or name,), read, odd)

    meta = "out/checkpoint/step-000002"
    files = sorted(str(path.relative_to(run.parent)) for path in run.parent.glob(f"{meta}/*"))
    model_files = ("config.json", "tokenizer_config.json", "tokenizer.json")
    single, sharded = good.model(place / "single"), good.model(place / "sharded", shards=True)
    shard = sorted(path.name for path in sharded.glob("*.safetensors"))[0]
    megatron = good.megatron(place / "megatron")
    task_file = own / "where.toml"
    return [
        Reader("relations.jsonl", plain, ("relations.jsonl",), lama, (json_line,)),
        Reader("facts", plain, relation_files, lama, (json_line,)),
        Reader("facts as published", published, published_files, lama, (json_line,)),
        Reader("common_vocab_cased.txt", plain, words, lama, ()),
        Reader("29k-vocab.json", published, ("29k-vocab.json",), lama),
        Reader("LPAQA's prompts", plain, prompts, lama, (json_line,)),
        Reader(
            "prompts of a study",
            study_place,
            ("prompts.txt",),
            lambda d: study(d, relation="P36", prompts=str(d / "prompts.txt")),
            (),
        ),
        Reader(
            "patterns of a study",
            study_tasks,
            ("patterns.txt",),
            lambda d: study(d, task="RTE", patterns=str(d / "patterns.txt")),
            (),
        ),
        Reader("sentences to teach", taught, (str(sentences.relative_to(taught)),), teach, ()),
        *(
            Reader(
                f"SuperGLUE, {task}",
                superglue_data,
                tuple(f"{task}/{split}.jsonl" for split in _splits(task)),
                lambda d, task=task: superglue(d, task),
                (json_line,),
            )
            for task in SUPERGLUE
        ),
        own_data("train.jsonl"),
        own_data("train.json"),
        own_data("dev.csv"),
        own_data("train.tsv"),
        own_data("train.parquet"),
        own_data("talks.jsonl", pattern="{user} [P] [Y]"),
        own_data("train.jsonl", candidates="candidates.txt"),
        Reader(
            "task file",
            own,
            (task_file.name,),
            lambda d: tune(d, task=(str(d / task_file.name),)),
            (toml_value,),
        ),
        Reader(
            "--config",
            configs,
            ("flags.toml",),
            lambda d: check_lama(settle({"config": d / "flags.toml"}, LamaConfig, "lama")),
            (toml_value,),
        ),
        Reader(
            "DeepSpeed JSON",
            configs,
            ("zero3.json",),
            lambda d: zero3.read_config(d / "zero3.json", torch.float32),
        ),
        Reader("run.json", run.parent, ("out/run.json",), _resume),
        Reader("checkpoint", run.parent, tuple(files), _resume, (_meta, _part)),
        Reader("exported prompt", prompt, ("prompt.safetensors",), ask, (_resealed,)),
        Reader("answers so far", answers, (".a.jsonl.unfinished",), predict),
        Reader("input of predict", asked, ("new.jsonl",), predict, (json_line,)),
        Reader("model, one file", single, (*model_files, "model.safetensors"), _loaded),
        Reader("model, index", sharded, ("model.safetensors.index.json", shard), shards),
        Reader("config.json of plan", single, ("config.json",), _planned),
        *(
            Reader(
                f"Megatron, {file}",
                megatron,
                (file,),
                lambda d: load_backbone(str(d)).kind,
                (json_value,) if file == "encoder.json" else (),
            )
            for file in ("dict.txt", "encoder.json", "vocab.bpe")
        ),
        Reader(
            "Megatron, shards",
            megatron,
            ("model-model_part-0.pt", "model-model_part-1.pt"),
            shards,
            (_shard,),
        ),
    ]


def _splits(task: str) -> tuple[str, ...]:
    """Those that are read: ipet labels records of tasks with labels."""
    return ("train", "dev32", "val", *(() if task in ("COPA", "WSC") else ("unlabeled",)))


def _loaded(directory: Path) -> object:
    return load_backbone(str(directory)).lm


def _planned(directory: Path) -> object:
    return find_config(str(directory / "config.json"), torch.float32)


def _run(place: Path, own: Path, model: str) -> Path:
    """A run that is done: its flags, a checkpoint and a prompt."""
    data = ["--task", str(own / "where.toml"), "--model", model, "--output_dir", str(place / "out")]
    flags = [text for name, value in _SMALL.items() for text in (f"--{name}", str(value))]
    assert launcher.main([*data, *flags]) == 0
    return place / "out"


def _resume(directory: Path) -> object:
    """Go on with a run, up to where it would train."""
    config = settle({"resume_from": str(directory / "out")}, OwnConfig, "tune")
    checked = check_tune(config)
    world = World()
    site = Site(Mesh.build(world, Degrees()), StopSignal(world), directory / "new")
    job = Job.start(config, checked.tasks, checked.backbone, site)
    asked = job.asked()
    trainer = build_trainer(job, asked, config.train, None, job.problem(asked))
    for path in job.resume_from.values():
        load(trainer, path)
    return trainer


def _begun(place: Path, prompt: Path) -> Path:
    """Answers that were stopped."""
    output = place / "a.jsonl"
    flags = {"prompt": str(prompt), "input": str(place / "new.jsonl"), "output": str(output)}
    checked = check_predict(PredictConfig.from_flags({**flags, "dtype": "float32"}))
    begun = Begun(checked.begun.identity, rows=1, bytes=3, dropped={"bad record": 1})
    output.write_text("{}\n{}\n")
    output.with_name(".a.jsonl.unfinished").write_text(json.dumps(vars(begun)))
    return place


def _meta(path: Path, chance: Random) -> None:
    json_value(path.with_name("meta.json"), chance)


def _part(path: Path, chance: Random) -> None:
    """Another value in a part of a checkpoint, which is sealed again."""
    part = chance.choice(sorted(path.parent.glob("*.pt")))
    content = torch.load(part, weights_only=True)
    _swap(content, chance)
    torch.save(content, part)
    _seal(part)


def _seal(part: Path) -> None:
    import hashlib

    meta = part.with_name("meta.json")
    found = json.loads(meta.read_text())
    name = part.stem
    found["sha256"][name] = hashlib.sha256(part.read_bytes()).hexdigest()
    meta.write_text(json.dumps(found))


def _swap(value: Any, chance: Random) -> None:
    places = []

    def walk(one: Any) -> None:
        if isinstance(one, dict | list):
            for key in list(one) if isinstance(one, dict) else range(len(one)):
                places.append((one, key))
                walk(one[key])

    walk(value)
    container, key = chance.choice(places)
    container[key] = chance.choice(_OBJECTS)


_OBJECTS = (None, True, 0, -1, 1.5, "x", "", 10**30, float("nan"), [], {}, [None], {"a": 1})
_TENSORS = (
    torch.zeros(0),
    torch.zeros(()),
    torch.zeros(3, 3),
    torch.full((4, 4), float("nan")),
    torch.zeros(2, dtype=torch.int64),
    torch.zeros(2, dtype=torch.complex64),
    torch.zeros(2, dtype=torch.bool),
    torch.eye(2).to_sparse(),
)


def _resealed(path: Path, chance: Random) -> None:
    """Other vectors or another description in an exported prompt, which is sealed again."""
    import hashlib

    with safe_open(path, "pt") as file:
        sealed = json.loads(file.metadata()["ptune_scale"])
        prompts = file.get_tensor("prompts")
    about = json.loads(sealed["about"])
    rows, slots, width = prompts.shape
    if chance.random() < 0.4:
        prompts = chance.choice(
            [
                torch.zeros(rows, slots, width + 1),
                torch.zeros(rows, slots + 1, width),
                torch.zeros(rows, slots - 1, width),
                torch.zeros(rows + 1, slots, width),
                torch.zeros(0, slots, width),
                torch.zeros(rows, slots, 0),
                torch.zeros(rows, slots, width).half(),
                torch.zeros(rows, slots, width, dtype=torch.int64),
                torch.full((rows, slots, width), float("nan")),
                torch.full((rows, slots, width), float("inf")),
                torch.zeros(slots, width),
                torch.zeros(()),
            ]
        )
    digest = hashlib.sha256(prompts.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    about["prompts_sha256"] = digest.hexdigest()
    text = json.dumps(about)
    if chance.random() < 0.3:
        about["tasks"].append(about["tasks"][0])
        text = json.dumps(about)
    elif chance.random() < 0.8:
        text = odd_json(about, chance)
    seal = hashlib.sha256(text.encode()).hexdigest()
    outer = json.dumps({"about": text, "sha256": seal})
    if chance.random() < 0.1:
        outer = odd_json(json.loads(outer), chance)
    save_file({"prompts": prompts}, path, {"ptune_scale": outer})


def _shard(path: Path, chance: Random) -> None:
    """Another setting or tensor in a shard."""
    import argparse

    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True)
    odd = chance.choice([*_OBJECTS, *_TENSORS])
    action = chance.random()
    if action < 0.6:
        settings = vars(content["args"])
        settings[chance.choice(list(settings))] = odd
    elif action < 0.9:
        content["model"][chance.choice(list(content["model"]))] = odd
    else:
        content[chance.choice(["model", "args"])] = odd
    try:
        torch.save(content, path)
    except (RuntimeError, pickle.PicklingError):
        path.write_bytes(b"PK")
