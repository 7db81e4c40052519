"""lm-evaluation-harness's model ``ptune_scale``: its tasks over a tuned prompt.

The harness asks in texts, a context and what should go on. Where a text holds the tokens of a
task's slots (``<|rte_0|><|rte_1|>``, as in exported checkpoints), prompts stand there. Where it
holds none, they stand in front of everything, with what is constant before the pattern's first
field: so any task of the harness is asked, as over PEFT's prompt tuning.

Shapes: N rows, K tokens of a continuation, W a rank's part of the vocabulary.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import (
    get_rolling_token_windows,
    make_disjoint_window,
    simple_parse_args_string,
)
from torch import Tensor

from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.task.ask import Continuation
from ptune_scale.task.example import NO_ANSWER, NO_SLOT, Batch, Example
from ptune_scale.task.objective import Vocabulary, log_probabilities
from ptune_scale.use.formats.added_tokens import add_tokens
from ptune_scale.use.formats.peft_rows import field_before_slots, head_of
from ptune_scale.use.prompt import TunedPrompt, load_prompt

NAME = "ptune_scale"

_NO_LIMIT = 2048
"""Tokens of a row where the architecture bounds none, as the harness takes it."""

_ARGUMENTS = ("prompt", "task", "model", "dtype", "batch_size")

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""A request as texts, and the token ids of its context and its continuation."""


@register_model(NAME)
class PtuneLM(TemplateLM):
    """A tuned prompt as the harness asks it.

    Args:
        prompt: in any layout; on all ranks the same is asked.
        task: whose prompt stands in front of texts without slots; "" where there is only one.

    Raises:
        UserError: the model is masked, or the prompt has no such task.

    Example::

        lm_eval.simple_evaluate(PtuneLM(load_prompt("out/prompt")), tasks=["lambada_openai"])
    """

    def __init__(self, prompt: TunedPrompt, task: str = "") -> None:
        super().__init__()
        if prompt.backbone.kind == "masked":
            raise UserError(
                "lm-evaluation-harness asks causal models; this prompt has a masked one"
            )
        self.prompt = prompt
        self.task = task
        added = add_tokens(prompt, range(len(prompt.tasks)))
        self.tokenizer = added.tokenizer
        self._slots = {
            token: (row, slot) for row, ids in added.ids.items() for slot, token in enumerate(ids)
        }
        self._names_of = added.names
        if task:
            prompt.export.row(task)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> Self:
        """The model of ``--model_args prompt=DIR,task=NAME``; see ``create_from_arg_obj``."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """The model of the harness's arguments.

        Args:
            arg_dict: "prompt", a directory; "task"; "model", where the backbone is now; "dtype".
            additional_config: "batch_size"; where it is computed, ``load_prompt`` decides.

        Raises:
            UserError: an argument is unknown, or the prompt cannot be loaded.
        """
        unknown = [name for name in arg_dict if name not in _ARGUMENTS]
        if unknown or "prompt" not in arg_dict:
            raise UserError(
                f"--model {NAME} takes {', '.join(_ARGUMENTS)}, and needs prompt"
                + (f"; got {', '.join(unknown)}" if unknown else "")
            )
        dtype = getattr(torch, str(arg_dict.get("dtype", "float32")), None)
        if not isinstance(dtype, torch.dtype):
            raise UserError(f"--model_args dtype={arg_dict['dtype']} is none; write float32")
        prompt = load_prompt(arg_dict["prompt"], model=arg_dict.get("model"), dtype=dtype)
        size = {**(additional_config or {}), **arg_dict}.get("batch_size")
        if str(size).isdecimal():
            prompt.asker.batch_size = int(str(size))
        return cls(prompt, str(arg_dict.get("task", "")))

    @property
    def eot_token_id(self) -> int:
        return self.prompt.backbone.tokens.end_token

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context."""
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else first

    @property
    def max_length(self) -> int:
        """Most tokens of a row, prompts among them."""
        return context_length(self.prompt.backbone.config) or _NO_LIMIT

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids of a text. One without slots gets its special tokens with the prompt."""
        if add_special_tokens is None:
            every = (name for names in self._names_of.values() for name in names)
            add_special_tokens = any(name in string for name in every)
        return self.tokenizer.encode(string, add_special_tokens=add_special_tokens)

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and whether it is the likeliest."""
        asker = self.prompt.asker
        places: dict[tuple[int, ...], int] = {}
        rows = [
            self._row(context, continuation, places.setdefault(tuple(context), len(places)))
            for _, context, continuation in requests
        ]

        def ask(batch: Batch) -> list[Tensor]:
            shape = (batch.num_targets, 2)
            found = asker.model.ask(batch, asker.prompts, _likelihoods, shape)
            return [f[: len(e.targets)] for f, e in zip(found, batch.examples, strict=True)]

        answers = []
        for (texts, _, _), found in zip(requests, asker.in_batches(rows, ask), strict=True):
            answers.append((float(found[:, 0].sum()), bool(found[:, 1].all())))
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answers[-1])
        return answers

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-probability of whole texts, in windows as long as the model takes."""
        windows: list[Request] = []
        counts = []
        for request in requests:
            (text,) = request.args
            ids = self.tok_encode(text)
            pairs = get_rolling_token_windows(
                token_list=ids,
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length - len(self._front(ids).ids),
                context_len=1,
            )
            mine = [(None, *make_disjoint_window(pair)) for pair in pairs]
            windows += mine
            counts.append(len(mine))
        found = iter(self._loglikelihood_tokens(windows))
        totals = [sum(next(found)[0] for _ in range(count)) for count in counts]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """What the model goes on with, the likeliest token each time.

        Raises:
            UserError: a task wants tokens to be drawn by chance.
        """
        end = self.tokenizer.decode([self.eot_token_id])
        limits: dict[int, list[int]] = {}
        stops: list[list[str]] = []
        rows: list[Example] = []
        for place, request in enumerate(requests):
            context, given = request.args
            wanted: Any = normalize_gen_kwargs(given)
            if wanted.get("do_sample"):
                raise UserError(f"--model {NAME} writes the likeliest token: leave do_sample out")
            limit = wanted["max_gen_toks"]
            limits.setdefault(limit, []).append(place)
            stops.append(handle_stop_sequences(wanted["until"], eos=end))
            row = self._row(self.tok_encode(context), [NO_ANSWER], place, room=limit)
            rows.append(row)
        texts = [""] * len(rows)
        for limit, places in limits.items():
            written = self._write([rows[place] for place in places], limit)
            for place, continuation in zip(places, written, strict=True):
                text = self.tokenizer.decode(continuation.tokens, skip_special_tokens=True)
                texts[place] = postprocess_generated_text(text, stops[place], None)
        for request, text in zip(requests, texts, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return texts

    def _write(self, rows: Sequence[Example], limit: int) -> list[Continuation]:
        asker = self.prompt.asker
        return asker.in_batches(
            rows,
            lambda batch: asker.model.generate(
                batch, asker.prompts, max_tokens=limit, stop=(self.eot_token_id,)
            ),
        )

    def _row(
        self, context: list[int], continuation: list[int], question: int, room: int = 0
    ) -> Example:
        """A request as a row; where it is too long, its text is cut from the left.

        Args:
            question: the same number for requests of the same context.
            room: tokens that will be written behind it.

        Raises:
            UserError: slots would be cut, or are of several tasks, or are to be written.
        """
        if any(token in self._slots for token in continuation):
            raise UserError("a prompt's slots stand where the model should go on")
        ids = [*context, *continuation[:-1]]
        front = self._front(ids)
        cut = max(0, len(front.ids) + len(ids) + room - self.max_length)
        if cut >= len(context) or any(token in self._slots for token in ids[:cut]):
            raise UserError(
                f"a text of {len(ids)} tokens does not fit into the {self.max_length} that the "
                "model takes without its slots, or all that stands before the answer, being cut"
            )
        placeholder = self.prompt.backbone.tokens.placeholder
        kept = ids[cut:]
        slots = [self._slots[token][1] if token in self._slots else NO_SLOT for token in kept]
        tokens = [placeholder if token in self._slots else token for token in kept]
        first = len(front.ids) + len(kept) - len(continuation)
        return Example(
            front.task,
            (*front.ids, *tokens),
            (*front.slots, *slots),
            tuple(range(first, first + len(continuation))),
            tuple(continuation),
            question=question,
        )

    def _front(self, ids: Sequence[int]) -> Example:
        """What stands in front of a text: nothing, where the text has slots itself.

        Raises:
            UserError: the text has slots of several tasks, or it has none and they cannot stand in
                front.
        """
        tasks = {self._slots[token][0] for token in ids if token in self._slots}
        names = [self.prompt.export.tasks[row].name for row in sorted(tasks)]
        if len(tasks) > 1:
            raise UserError(f"a text has slots of {', '.join(names)}; each is asked by one prompt")
        return Example(tasks.pop(), (), (), (), ()) if tasks else self._head

    @cached_property
    def _head(self) -> Example:
        row = self.prompt.row_of({}, self.task or None)
        task = self.prompt.tasks[row]
        if (field := field_before_slots(task)) is not None:
            name, names = task.task.name, "".join(self._names_of[row])
            raise UserError(
                f"a text has no slots, and those of {name} cannot stand in front of it: its "
                f"pattern has {{{field}}} before them; write {names} into the task's texts"
            )
        return head_of(task)


def _likelihoods(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Of each target (N, K, 2): its answer's log-probability, and 1 where that is the likeliest."""
    likeliest = vocabulary.top(logits, 1)[1][..., 0] == batch.answers
    found = log_probabilities(vocabulary, logits, batch)
    return torch.stack([found, likeliest.to(found.dtype)], dim=-1)
