"""PEFT's prompt tuning: rows in front of everything.

Such rows stand before the first token of a text, the beginning-of-sequence token included. So all
that is constant before a pattern's first field becomes rows too, words and special tokens, and what
is left for the tokenizer is the text behind the last slot, without special tokens.

Shapes: S slots, H embedding size, M rows.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.files import write_json
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import NO_SLOT, Batch, Example
from ptune_scale.task.fill import content_free
from ptune_scale.task.pattern import Slots, TextPiece
from ptune_scale.task.record import Record
from ptune_scale.use.formats.compare import at_targets, padded
from ptune_scale.use.formats.format import ABOUT, Format, Logits, described, folder_of
from ptune_scale.use.prompt import TunedPrompt

NAME = "peft"


def _check(prompt: TunedPrompt, rows: Sequence[int]) -> None:
    if prompt.backbone.kind == "masked":
        raise UserError(f"--to {NAME}: PEFT has no prompt tuning for masked models; use --to model")
    for row in rows:
        task = prompt.tasks[row]
        if (field := field_before_slots(task)) is not None:
            raise UserError(
                f"--to {NAME}: task {task.task.name} has slots behind {{{field}}}, and PEFT's "
                "rows stand in front of everything; use --to tokens or --to model"
            )


def field_before_slots(task: AskedTask) -> str | None:
    """The first field that stands before a slot; None where all slots stand in front."""
    pieces = task.filler.pattern.pieces
    last = max(i for i, piece in enumerate(pieces) if isinstance(piece, Slots))
    named = (n for p in pieces[:last] if isinstance(p, TextPiece) for n in p.names)
    return next(named, None)


def head_of(task: AskedTask) -> Example:
    """What is constant at the beginning of a task's rows: all up to the last slot."""
    filler = task.filler
    parts, _ = filler.fill(content_free(filler.pattern.names))
    row = filler.join(parts, [filler.tokens.placeholder])
    end = max(place for place, slot in enumerate(row.slots) if slot != NO_SLOT) + 1
    return Example(task.index, row.ids[:end], row.slots[:end], (), ())


def rows_of(prompt: TunedPrompt, head: Example) -> Tensor:
    """Embeddings of a beginning, (M, H) fp32: word embeddings, and prompts in the slots."""
    embed = prompt.backbone.lm.model.get_input_embeddings()
    with torch.no_grad():
        found = embed(torch.tensor([head.ids]))[0].float()
    for place, slot in enumerate(head.slots):
        if slot != NO_SLOT:
            found[place] = prompt.export.prompts[head.task, slot]
    return found


def _write(
    prompt: TunedPrompt, rows: Sequence[int], records: dict[int, list[Record]], directory: Path
) -> None:
    from peft import PromptTuningConfig

    for row in rows:
        task = prompt.tasks[row]
        folder = folder_of(task, directory, rows)
        folder.mkdir(exist_ok=True)
        embeddings = rows_of(prompt, head_of(task))
        PromptTuningConfig(
            task_type="CAUSAL_LM",
            base_model_name_or_path=prompt.export.model,
            inference_mode=True,
            num_virtual_tokens=len(embeddings),
            token_dim=embeddings.shape[1],
            num_transformer_submodules=1,
        ).save_pretrained(str(folder))
        tensors = {"prompt_embeddings": embeddings.contiguous()}
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
        about = described(task, ["\0"] * task.num_slots, behind_slots=True)
        tasks = {task.task.name: {**about, "add_special_tokens": False}}
        write_json(folder / ABOUT, {"tasks": tasks})


def _load(prompt: TunedPrompt, rows: Sequence[int], directory: Path) -> Logits:
    from peft import PeftModel

    heads = {row: len(head_of(prompt.tasks[row]).ids) for row in rows}
    models = {
        row: PeftModel.from_pretrained(
            prompt.backbone.lm.model, folder_of(prompt.tasks[row], directory, rows)
        ).eval()
        for row in rows
    }

    def logits(batch: Batch, prompts: Tensor) -> Tensor:
        size = prompt.backbone.vocab_size
        found = torch.zeros(len(batch), batch.num_targets, size)
        for row, model in models.items():
            mine = [n for n, example in enumerate(batch.examples) if example.task == row]
            if not mine:
                continue
            part = batch.rows(mine)
            rest = [example.ids[heads[row] :] for example in part.examples]
            ids, mask = padded(rest, prompt.backbone.tokens.placeholder)
            found[mine] = at_targets(model(ids, mask).logits, part.targets, size)
        return found

    return logits


PEFT = Format(NAME, _check, _write, _load, needs="peft")
