"""Requests for vLLM, which takes embeddings in the place of tokens (--enable-prompt-embeds).

``http.jsonl`` holds bodies for its completions route, in which the whole prompt is embedded, words
too. ``offline.jsonl`` is for ``LLM.generate``: token ids, a mask that says where they count, and
embeddings for the slots alone; tensors are base64 of what ``torch.save`` writes, as in its HTTP
interface. Each prompt has a cache salt of its own: vLLM's prefix cache does not look at embeddings.

Shapes: N rows, T tokens, H embedding size.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.reading import one_line
from ptune_scale.strict_json import parse_json
from ptune_scale.task.answers.text import Text
from ptune_scale.task.example import NO_SLOT, Batch, Example
from ptune_scale.task.record import Record
from ptune_scale.use.formats.compare import at_targets
from ptune_scale.use.formats.format import Format, Logits
from ptune_scale.use.formats.peft_rows import rows_of
from ptune_scale.use.prompt import TunedPrompt

_HTTP, _OFFLINE = "http.jsonl", "offline.jsonl"
# As many likely tokens as vLLM returns by default at most.
_LOGPROBS = 20


def _check(prompt: TunedPrompt, rows: Sequence[int]) -> None:
    if prompt.backbone.kind == "masked":
        raise UserError("--to vllm: vLLM does not run masked models; use --to model")


def _rows(
    prompt: TunedPrompt, records: dict[int, list[Record]]
) -> Iterator[tuple[Record, Example]]:
    """Each record with the row that it is asked by.

    Raises:
        UserError: one request cannot tell its answer.
    """
    for row, some in records.items():
        task = prompt.tasks[row]
        for record in some:
            examples = task.bound.question(record, "evaluate", Random(0)).rows
            if len(examples) > 1 or len(examples[0].targets) > 1:
                raise UserError(
                    f"--to vllm: the answers of task {task.task.name} have several tokens to be "
                    "compared, which one request does not tell; use --to model"
                )
            yield record, examples[0]


def _write(
    prompt: TunedPrompt, rows: Sequence[int], records: dict[int, list[Record]], directory: Path
) -> None:
    with (directory / _HTTP).open("w") as http, (directory / _OFFLINE).open("w") as offline:
        salts = {row: _salt(prompt, row) for row in records}
        for record, example in _rows(prompt, records):
            answer = prompt.tasks[example.task].wording.answer
            whole = rows_of(prompt, example)
            is_token = [slot == NO_SLOT for slot in example.slots]
            alone = whole.masked_fill(torch.tensor(is_token).unsqueeze(1), 0)
            settings: dict[str, Any] = {"max_tokens": 1, "logprobs": _LOGPROBS}
            if isinstance(answer, Text):
                settings = {"max_tokens": answer.max_tokens, "stop": list(answer.stop)}
            common = {"record": record.id, "cache_salt": salts[example.task]}
            body = {"model": prompt.export.model, "temperature": 0, **settings}
            http.write(json.dumps(common | body | {"prompt_embeds": encoded(whole)}) + "\n")
            asked = {
                "prompt_token_ids": list(example.ids),
                "prompt_is_token_ids": is_token,
                "prompt_embeds": encoded(alone),
            }
            offline.write(json.dumps(common | asked | {"sampling": settings}) + "\n")


def _salt(prompt: TunedPrompt, row: int) -> str:
    return hashlib.sha256(f"{prompt.export.digest}/{row}".encode()).hexdigest()


def encoded(tensor: Tensor) -> str:
    """A tensor as vLLM takes it."""
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return base64.b64encode(buffer.getvalue()).decode()


def decoded(text: str) -> Tensor:
    """The tensor of ``encoded``."""
    return torch.load(io.BytesIO(base64.b64decode(text)), weights_only=True)


def _load(prompt: TunedPrompt, rows: Sequence[int], directory: Path) -> Logits:
    """Rows run as the requests have them, by transformers: vLLM itself is not looked for."""
    pairs = zip(_lines(directory / _HTTP), _lines(directory / _OFFLINE), strict=True)
    written = {
        (http["cache_salt"], tuple(offline["prompt_token_ids"])): _whole(prompt, http, offline)
        for http, offline in pairs
    }
    model = prompt.backbone.lm.model
    salts = {row: _salt(prompt, row) for row in rows}

    def logits(batch: Batch, prompts: Tensor) -> Tensor:
        found = torch.zeros(len(batch), batch.num_targets, prompt.backbone.vocab_size)
        for number, example in enumerate(batch.examples):
            embeds = written.get((salts[example.task], example.ids))
            if embeds is None and not isinstance(prompt.tasks[example.task].wording.answer, Text):
                raise UserError("--check has a record that --input has not: give the same file")
            # A text is written token by token, behind what was asked.
            embeds = rows_of(prompt, example) if embeds is None else embeds
            one = model(inputs_embeds=embeds.to(model.dtype).unsqueeze(0)).logits
            targets = batch.targets[number : number + 1]
            found[number] = at_targets(one, targets, prompt.backbone.vocab_size)[0]
        return found

    return logits


def _whole(prompt: TunedPrompt, http: dict[str, Any], offline: dict[str, Any]) -> Tensor:
    """The embeddings of a request, which both files have to agree on."""
    whole, alone = decoded(http["prompt_embeds"]), decoded(offline["prompt_embeds"])
    is_token = torch.tensor(offline["prompt_is_token_ids"]).unsqueeze(1)
    words = prompt.backbone.lm.model.get_input_embeddings()
    with torch.no_grad():
        found = words(torch.tensor([offline["prompt_token_ids"]]))[0].float()
    if not torch.equal(found.where(is_token, alone), whole):
        raise UserError(f"record {http['record']}: {_HTTP} and {_OFFLINE} ask different things")
    return whole


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [parse_json(line) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from error


VLLM = Format("vllm", _check, _write, _load, needs_records=True)
