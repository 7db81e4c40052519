"""P-tuning of a Hugging Face model as a module, for people who have a training loop of their own.

Slots are marked in the text by tokens, so rows are ordinary ``input_ids``::

    model = PtuneModel(base, tokenizer, {"cb": "{premise} Question: {hypothesis}? [P]*4 [Y]"})
    rows = [model.row("cb", record, answer=" Yes") for record in records]
    Trainer(model, train_dataset=rows, data_collator=model.collate, ...).train()
    model.save_pretrained("prompt")            # the same files as those of ``ptune tune``

Shapes: N rows, T tokens, R tasks, S slots, H embedding size, V vocabulary.
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.families import context_length
from ptune_scale.backbone.fit import num_logits
from ptune_scale.backbone.frozen import is_causal
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.errors import UserError
from ptune_scale.files import write_text
from ptune_scale.prompt.bank import PromptBank, plan_encoders
from ptune_scale.prompt.kinds import EncoderKind, EncoderSharing
from ptune_scale.splice import splice
from ptune_scale.task.answers.text import Text
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import NO_SLOT
from ptune_scale.task.pattern import Kind, Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.task.tokenization import Tokenization
from ptune_scale.use.export import ExportedTask, PromptExport

_IGNORED = -100
"""Label of a position that no loss is taken of, as in transformers."""

_MAX_NEW_TOKENS = 64


class PtuneModel(nn.Module):
    """A frozen model with a trainable prompt for each of some tasks.

    Only the prompts and their encoder train, and only they are in ``state_dict()``. What is not
    found here is looked for in the model, so that it passes for one.

    Args:
        model: any causal or masked model; its parameters are frozen.
        tokenizer: its tokenizer; ``self.tokenizer`` is a copy that knows the slots.
        tasks: by name, a pattern, or a pattern with a kind of answer. A pattern alone is answered
            by texts.
        encoder, encoder_sharing, seed: see the flags of ``ptune tune``.
        start: (R, S, H), what prompts begin as; None for around the mean word embedding.

    Raises:
        UserError: a pattern does not fit the model, or has no slots.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tasks: Mapping[str, str | Wording],
        *,
        encoder: EncoderKind = "lstm",
        encoder_sharing: EncoderSharing = "all",
        seed: int = 34,
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        kind: Kind = "causal" if is_causal(model) else "masked"
        tokens = Tokenization(tokenizer, kind, num_logits(model))
        self.tasks = {
            name: AskedTask(
                Task(name, _wording(each), Splits((), (), ())),
                tokens,
                index,
                context_length=context_length(model.config),
            )
            for index, (name, each) in enumerate(tasks.items())
        }
        bare = [name for name, task in self.tasks.items() if not task.num_slots]
        if bare or not self.tasks:
            raise UserError(f"the pattern of {', '.join(bare) or 'no task'} has no prompt slot [P]")
        slots = max(task.num_slots for task in self.tasks.values())
        self.tokenizer = copy.deepcopy(tokenizer)
        names = [f"<|slot_{number}|>" for number in range(slots)]
        new = [AddedToken(name, normalized=False, special=True) for name in names]
        if self.tokenizer.add_tokens(new, special_tokens=True) != slots:
            raise UserError("the tokenizer knows slots already; give the model's own tokenizer")
        self.first_slot = self.tokenizer.convert_tokens_to_ids(names[0])
        words = model.get_input_embeddings()
        with torch.no_grad():
            some = torch.arange(min(len(tokenizer), 1 << 14), device=model.device)
            center = words(some.unsqueeze(0))[0].float().mean(0).cpu()
        encoders = plan_encoders(
            list(self.tasks),
            slots,
            kind=encoder,
            sharing=encoder_sharing,
            seed=seed,
            center=None if start is not None else center,
            start=start,
        )
        self.bank = PromptBank(list(self.tasks), slots, len(center), encoders).to(model.device)

    @property
    def prompts(self) -> Tensor:
        """P, (R, S, H) in fp32; differentiable."""
        return self.bank(range(len(self.tasks)))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        task_ids: Tensor | None = None,
        **more: Any,
    ) -> Any:
        """The model's own output; its logits (N, T, V) are aligned with ``input_ids``.

        Args:
            input_ids: (N, T) int64, with the tokens of slots where prompts go.
            attention_mask: (N, T), 1 at tokens and 0 at padding.
            labels: (N, T) int64, -100 where no loss is taken; never taken at slots.
            task_ids: (N,) int64, number of each row's task; None for the first.
            more: what the model itself takes.
        """
        if labels is not None:
            labels = labels.masked_fill(labels >= self.first_slot, _IGNORED)
        embeds = self._embed(input_ids, task_ids)
        return self.model(
            inputs_embeds=embeds, attention_mask=attention_mask, labels=labels, **more
        )

    def base_model(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        **more: Any,
    ) -> Any:
        """The output of the model below its head, for trainers that compute the loss themselves.

        TRL's does so; see ``forward`` for the arguments.
        """
        embeds = self._embed(input_ids, task_ids)
        body = self.model.base_model
        return body(inputs_embeds=embeds, attention_mask=attention_mask, **more)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        **settings: Any,
    ) -> Tensor:
        """What the model goes on with; rows are padded on the left, as for the model's own.

        Returns:
            (N, T + new tokens) int64: the rows with the new tokens behind them.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        embeds = self._embed(input_ids, task_ids)
        new = self.model.generate(inputs_embeds=embeds, attention_mask=attention_mask, **settings)
        repeated = input_ids.repeat_interleave(len(new) // len(input_ids), 0)
        return torch.cat([repeated, new], dim=1)

    def _embed(self, input_ids: Tensor, task_ids: Tensor | None) -> Tensor:
        """Word embeddings (N, T, H) with the prompts in the slots."""
        slots = input_ids - self.first_slot
        is_slot = (slots >= 0) & (slots < self.bank.shape[1])
        with torch.no_grad():
            words = self.model.get_input_embeddings()(input_ids.masked_fill(is_slot, 0))
        if task_ids is None:
            task_ids = input_ids.new_zeros(len(input_ids))
        return splice(words, self.prompts, task_ids, slots.masked_fill(~is_slot, NO_SLOT))

    def row(
        self, task: str, record: Record | Mapping[str, str], answer: str | None = None
    ) -> dict[str, Any]:
        """A record as a row of a dataset, spelled as the launchers spell it.

        Args:
            answer: text that is to be predicted at the target; None to ask. Where the task's
                answers are texts the end token is learned too.

        Raises:
            UserError: a field is missing, or the row is too long.

        Returns:
            "input_ids" and "labels", lists of T numbers, and "task_ids", a number.
        """
        asked = self.tasks[task]
        fields = record.fields if isinstance(record, Record) else record
        filler = asked.filler
        known = Record("row", dict(fields), None)
        ids = filler.spell(answer.strip()) if answer else [filler.tokens.placeholder]
        if answer and isinstance(asked.wording.answer, Text):
            ids = [*ids, filler.tokens.end_token]
        masks = len(ids) if filler.tokens.kind == "masked" else 0
        parts, _ = filler.fill(known, masks=masks, target_room=len(ids))
        row = filler.join(parts, ids)
        written = [
            token if slot == NO_SLOT else self.first_slot + slot
            for token, slot in zip(row.ids, row.slots, strict=True)
        ]
        labels = [_IGNORED] * len(written)
        if answer and masks:
            for place, token in zip(row.targets, ids, strict=True):
                labels[place] = token
        elif answer:
            # A causal model takes its labels one place later, where the token itself stands.
            written.append(ids[-1])
            labels = [_IGNORED] * (row.targets[0] + 1) + ids
        return {"input_ids": written, "labels": labels, "task_ids": asked.index}

    def collate(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Rows of ``row`` as a batch, padded on the right."""
        rows = list(rows)
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(name: str, value: int) -> Tensor:
            return torch.tensor([[*r[name], *[value] * (longest - len(r[name]))] for r in rows])

        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        return {
            "input_ids": padded("input_ids", 0),
            "labels": padded("labels", _IGNORED),
            "attention_mask": (torch.arange(longest) < lengths.unsqueeze(1)).long(),
            "task_ids": torch.tensor([row["task_ids"] for row in rows]),
        }

    def train(self, mode: bool = True) -> "PtuneModel":
        """Only the encoder trains: the frozen model stays in eval mode, without dropout."""
        super().train(mode)
        self.model.eval()
        return self

    def state_dict(self, *args: Any, **more: Any) -> dict[str, Any]:  # type: ignore[override]
        """The prompts and their encoder alone; see ``torch.nn.Module``."""
        prefix = more.pop("prefix", "")
        return self.bank.state_dict(*args, prefix=f"{prefix}bank.", **more)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take over what ``state_dict`` gave."""
        own = {name.removeprefix("bank."): value for name, value in state_dict.items()}
        return self.bank.load_state_dict(own, strict, assign)

    def save_pretrained(self, directory: str | Path, **_: Any) -> None:
        """Write the prompts, without their encoder, and a model card.

        Raises:
            UserError: the model is none that can be found again by its name, or a file cannot be
                written.
        """
        name = self.model.config._name_or_path
        backbone = load_backbone(name, dtype=self.model.dtype, shortcuts=PLAIN)
        tasks = tuple(
            ExportedTask(each, each, task.wording, task.max_length)
            for each, task in self.tasks.items()
        )
        export = PromptExport(
            self.prompts.detach().cpu(),
            tasks,
            name,
            backbone.fingerprint,
            tokenizer=backbone.tokens.digest,
        )
        export.save(Path(directory))
        write_text(Path(directory) / "README.md", _model_card(export))

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, model: str | None = None, dtype: torch.dtype = torch.float32
    ) -> "PtuneModel":
        """Prompts of ``save_pretrained``, or of a launcher, to go on training or to be used.

        Args:
            model: where the backbone is now, if not where training found it.

        Raises:
            UserError: they cannot be read, or belong to another model.
        """
        export = PromptExport.load(Path(directory))
        backbone = load_backbone(model or export.model, dtype=dtype, shortcuts=PLAIN)
        export.check_backbone(backbone)
        base = backbone.lm.model
        base.config._name_or_path = model or export.model
        tasks = {task.name: task.wording for task in export.tasks}
        tokenizer = backbone.tokens.tokenizer
        return cls(base, tokenizer, tasks, encoder="none", start=export.prompts)

    def push_to_hub(self, repository: str, **settings: Any) -> Any:
        """Upload what ``save_pretrained`` writes; see ``huggingface_hub.HfApi.upload_folder``."""
        import tempfile

        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(repository, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            self.save_pretrained(scratch)
            return api.upload_folder(repo_id=repository, folder_path=scratch, **settings)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)


def _wording(given: str | Wording) -> Wording:
    if isinstance(given, Wording):
        return given
    return Wording(Pattern.parse(given), Text(_MAX_NEW_TOKENS))


def _model_card(export: PromptExport) -> str:
    """What people read about prompts on a hub: Markdown with the hub's own header."""
    tasks = [f"- `{task.name}`: `{task.wording.pattern.text}`" for task in export.tasks]
    return "\n".join(
        [
            "---",
            f"base_model: {export.model}",
            "library_name: ptune_scale",
            "tags: [p-tuning, soft-prompt]",
            "---",
            "",
            "# Tuned prompts",
            "",
            f"Prompt embeddings for `{export.model}`, whose weights are not changed.",
            "",
            *tasks,
            "",
            "## Use",
            "",
            "```python",
            "from ptune_scale.use.prompt import load_prompt",
            "",
            'prompt = load_prompt("DIRECTORY")',
            f'prompt.predict([{{...}}], "{export.tasks[0].name}")',
            "```",
            "",
        ]
    )
