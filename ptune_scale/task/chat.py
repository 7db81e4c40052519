"""Conversations: their turns as the fields of a record, and a pattern inside a chat's message."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ptune_scale.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NOTATION = re.compile(r"\{\w[^{}]*\}|\[(P|X|Y|SEP)\]")
_SYSTEM = ("system", "developer")


def conversation_fields(messages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The turns of a conversation by their part in it.

    Returns:
        "system"; "user", the last turn of that role; "history", what was said besides, a line with
        its role for each; and "assistant", the last message if it is of that role. All but the
        last are always there.

    Raises:
        ValueError: nothing is of role "user", or a message is no text.

    Example:
        >>> conversation_fields([{"role": "user", "content": "Capital of Norway?"},
        ...                      {"role": "assistant", "content": "Oslo"}])
        {'system': '', 'user': 'Capital of Norway?', 'history': '', 'assistant': 'Oslo'}
    """
    turns = [(str(m["role"]), _content(m.get("content"), i)) for i, m in enumerate(messages)]
    answer = {"assistant": turns.pop()[1]} if turns and turns[-1][0] == "assistant" else {}
    asked = [i for i, (role, _) in enumerate(turns) if role == "user"]
    if not asked:
        raise ValueError("no message of role 'user'")
    _, question = turns.pop(asked[-1])
    return {
        "system": "\n".join(text for role, text in turns if role in _SYSTEM),
        "user": question,
        "history": "\n".join(f"{role}: {text}" for role, text in turns if role not in _SYSTEM),
        **answer,
    }


def _content(content: Any, place: int) -> str:
    """A text, or a list of parts that are texts."""
    parts = content if isinstance(content, list) else ["" if content is None else content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    known = [text for text in texts if isinstance(text, str)]
    if len(known) < len(texts):
        raise ValueError(f"'messages.{place}.content' is not a text")
    return "".join(known).strip()


def chat_pattern(
    tokenizer: "PreTrainedTokenizerBase", pattern: str, *, has_system: bool = False
) -> str:
    """A pattern inside a user's message, with [Y] where the model begins its answer.

    Special tokens, line breaks and spaces are those of the tokenizer's chat template and are to be
    taken as they stand: nothing may be added to what is tokenized.

    Args:
        pattern: with one [Y]; what stands before it becomes the message.
        has_system: whether ``{system}`` goes in front as the system's message.

    Raises:
        UserError: the tokenizer has no chat template, or one that cannot be used.

    Example:
        >>> chat_pattern(tokenizer, "{user...} [P]*4 [Y]")
        '<|im_start|>user\\n{user...} [P]*4<|im_end|>\\n<|im_start|>assistant\\n[Y]'
    """
    from jinja2 import TemplateError

    message, target, behind = pattern.partition("[Y]")
    if not target:
        raise UserError(f"pattern {pattern!r} has no targets; write [Y] exactly once")
    if not tokenizer.chat_template:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path} has no chat template; take a model that was "
            "made for chats, or leave the template out"
        )
    contents = {"system": "{system}"} if has_system else {}
    contents["user"] = message.strip()
    # Letters alone, which no template changes.
    marks = {role: f"CONTENTOF{role.upper()}" for role in contents}
    try:
        text = tokenizer.apply_chat_template(
            [{"role": role, "content": mark} for role, mark in marks.items()],
            tokenize=False,
            add_generation_prompt=True,
        )
    except TemplateError as error:
        raise UserError(f"the chat template of {tokenizer.name_or_path}: {error}") from error
    if any(text.count(mark) != 1 for mark in marks.values()) or _NOTATION.search(text):
        raise UserError(
            f"the chat template of {tokenizer.name_or_path} cannot hold a pattern: it changes "
            "messages, or has {names} or [P], [X], [Y] or [SEP] of its own"
        )
    for role, mark in marks.items():
        text = text.replace(mark, contents[role])
    return f"{text}[Y]{behind}"
