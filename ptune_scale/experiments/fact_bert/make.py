"""From facts to a directory with a model that knows them, and the experiments on it."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import BertForMaskedLM, PreTrainedTokenizerFast

from ptune_scale.errors import UserError
from ptune_scale.experiments.fact_bert.config import FactBertConfig
from ptune_scale.experiments.fact_bert.curriculum import Curriculum, Lesson, plan_lessons
from ptune_scale.experiments.fact_bert.teaching import new_model, recall, teach, tokenize
from ptune_scale.experiments.fact_bert.vocabulary import learn_tokenizer
from ptune_scale.files import write_directory, write_json, write_text


@dataclass(frozen=True)
class Made:
    """What is in the output directory.

    Attributes:
        model: a Hugging Face directory, for ``--model``.
        facts: taught facts, for ``--data_dir``: learn from some of them, be scored on others.
        untaught: the same to learn from, scored on facts that the model never read.
        record: facts.json: settings, sentences, facts, and how well they were learned.
    """

    model: Path
    facts: Path
    untaught: Path
    record: dict[str, Any]


def make_fact_bert(config: FactBertConfig) -> Made:
    """Teach a new BERT and write it, with its facts, into ``config.output_dir``: all or nothing.

    The same settings and facts give the same weights on the same machine. The number of threads of
    this process is ``config.threads`` meanwhile.

    Raises:
        UserError: the directory is not new or cannot be written, or facts cannot be had.
    """
    output = Path(config.output_dir)
    if not config.output_dir:
        raise UserError("--output_dir is missing: say where the model goes")
    if os.path.exists(output) and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output_dir {output} is in use; choose another")
    curriculum = plan_lessons(config)
    tokenizer = learn_tokenizer(curriculum, config.vocab_size)
    sentences = tokenize(curriculum, tokenizer)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        model = new_model(config, tokenizer, length=sentences[-1].ids.shape[1])
        losses = teach(model, sentences, tokenizer.mask_token_id, config)
        learned = recall(model, sentences, tokenizer.mask_token_id)
    finally:
        torch.set_num_threads(threads)
    record = {
        "settings": dataclasses.asdict(config) | {"output_dir": None},
        "source": curriculum.source,
        "parameters": model.num_parameters(),
        "epoch_losses": losses,
        "p_at_1_as_taught": learned,
        "relations": [_describe(lesson) for lesson in curriculum.lessons],
        "left_out": curriculum.left_out,
    }
    write_directory(output, lambda place: _fill(place, model, tokenizer, curriculum, record))
    return Made(output / "model", output / "facts", output / "untaught", record)


def _fill(
    place: Path,
    model: BertForMaskedLM,
    tokenizer: PreTrainedTokenizerFast,
    curriculum: Curriculum,
    record: dict[str, Any],
) -> None:
    model.save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    _write_data(place / "facts", curriculum, untaught=False)
    _write_data(place / "untaught", curriculum, untaught=True)
    write_json(place / "facts.json", record)


def _describe(lesson: Lesson) -> dict[str, Any]:
    return {
        "relation": lesson.relation.id,
        "label": lesson.relation.label,
        "manual_prompt": lesson.relation.manual_prompt,
        "taught_in": list(lesson.sentences),
        "taught": [[fact.subject, fact.object] for fact in lesson.taught],
        "untaught": [[fact.subject, fact.object] for fact in lesson.untaught],
    }


def _write_data(directory: Path, curriculum: Curriculum, *, untaught: bool) -> None:
    """A directory in the plain LAMA layout; relations without untaught facts are not in theirs."""
    described = []
    for lesson in curriculum.lessons:
        relation = lesson.relation
        test = lesson.untaught if untaught else relation.test
        if not test:
            continue
        about = {"label": relation.label, "template": relation.manual_prompt}
        described.append({"relation": relation.id, **about})
        for part, facts in (("train", relation.train), ("dev", relation.dev), ("test", test)):
            records = [{"sub_label": fact.subject, "obj_label": fact.object} for fact in facts]
            _write_lines(directory / part / f"{relation.id}.jsonl", records)
    _write_lines(directory / "relations.jsonl", described)


def _write_lines(path: Path, records: list[dict[str, str]]) -> None:
    write_text(path, "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records))
