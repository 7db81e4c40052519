"""What a method is, and how each words a relation's question."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ptune_scale.errors import UserError
from ptune_scale.flags import names_in
from ptune_scale.lama.config import LamaConfig
from ptune_scale.lama.methods.demonstrations import RETRIEVED, chosen_facts, written_out
from ptune_scale.lama.objects import Objects
from ptune_scale.lama.reference import reference_counts
from ptune_scale.task.fill import words_as_slots
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Task, Wording
from ptune_scale.task.tokenization import Tokenization
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.methods import Method
from ptune_scale.tune.trials import Wordings

Worded = Callable[[Task, LamaConfig, Tokenization], Wording]
"""The wording of a relation, for a kind of tokens.

Raises:
    UserError: it does not fit the kind of model.
"""


@dataclass(frozen=True)
class LamaMethod(Method[MethodResult]):
    """A way to ask for facts.

    Attributes:
        worded: how it words a question, where that does not depend on what it finds.
        takes_phrases: it can be asked for objects of several tokens.
        shows_facts: it may show training facts in front of a question.
    """

    worded: Worded | None = None
    takes_phrases: bool = True
    shows_facts: bool = False


_RETRIEVED = f"{{{RETRIEVED}}}"

# A prompt that was not trained to an end token goes on behind the object.
_STOPS = ("\n", ".", ",", ";", "(")


def tuned(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """The pattern that the flags give, the same for all relations."""
    return task.wording


def manual(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """The relation's hand-written sentence."""
    wording = task.manual["manual"]
    if isinstance(wording.answer, Objects):
        return replace(wording, answer=replace(wording.answer, stop=_STOPS))
    return wording


def on_manual(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """The same, to be fine-tuned on: it is learned where an object ends."""
    return task.manual["manual"]


def subject_alone(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """The subject and the target, nothing else."""
    return replace(task.manual["manual"], pattern=Pattern.parse("[X] [Y]"))


def anchored(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """As many slots as the flags' template has, in front of the manual prompt.

    The paper keeps single words of a template as anchors (section 3.2); here it is all of them.
    """
    template = config.ask.template
    if config.ask.spelling == "reference":
        count = sum(reference_counts(template))
    else:
        count = Pattern.parse(template).num_slots
    wording = task.manual["manual"]
    return replace(wording, pattern=Pattern.parse(f"[P]*{count} {wording.pattern.text}"))


def from_manual(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """The manual prompt with a slot in the place of each token of its words."""
    return replace(task.manual["manual"], pattern=words_of_manual(task, tokens)[0])


def words_of_manual(task: Task, tokens: Tokenization) -> tuple[Pattern, list[int]]:
    """The pattern of ``from_manual``, and the token that each slot begins as."""
    pattern = task.manual["manual"].pattern
    return words_as_slots(pattern.usable_by(tokens.kind), tokens)


def demonstrated(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """Training facts in the manual prompt's words, then the pattern that the flags give."""
    return _behind(_fixed(task, config), task.manual["manual"], task.wording.pattern)


def incontext(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """Training facts in the manual prompt's words, then the manual prompt itself."""
    wording = manual(task, config, tokens)
    return _behind(_fixed(task, config), wording, wording.pattern)


def retrieved(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """Training facts retrieved for each question, then the pattern that the flags give."""
    return _behind(_RETRIEVED, task.manual["manual"], task.wording.pattern)


def incontext_retrieved(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """Training facts retrieved for each question, then the manual prompt itself."""
    wording = manual(task, config, tokens)
    return _behind(_RETRIEVED, wording, wording.pattern)


def _behind(shown: str, wording: Wording, pattern: Pattern) -> Wording:
    return replace(wording, pattern=Pattern.parse(f"{shown} {pattern.text}"))


def _fixed(task: Task, config: LamaConfig) -> str:
    facts = chosen_facts(task.splits.train, config.ask.num_fixed)
    return written_out(facts, task.manual["manual"].pattern.text)


def searched(task: Task, config: LamaConfig, tokens: Tokenization) -> Wording:
    """The subject, slots for AutoPrompt's words, the target; a masked model gets a full stop."""
    end = " ." if tokens.kind == "masked" else ""
    pattern = Pattern.parse(f"[X] [P]*{config.discrete.autoprompt_words} [Y]{end}")
    return replace(task.manual["manual"], pattern=pattern)


TUNED_MEMBERS: dict[str, Worded] = {
    "plain": tuned,
    "demonstrated": demonstrated,
    "retrieved": retrieved,
    "anchored": anchored,
}
"""Prompts with slots, by the names that ``--ensemble`` and a trial's ``wording`` take."""

MEMBERS: dict[str, Worded] = {
    **TUNED_MEMBERS,
    "incontext": incontext,
    "incontext_retrieved": incontext_retrieved,
    "manual": manual,
}
"""Prompts that can be asked together, by the names that ``--ensemble`` takes."""


def members(config: LamaConfig) -> dict[str, Worded]:
    """The prompts that are asked together, by name.

    Raises:
        UserError: one is not known, or none has slots to train.
    """
    names = names_in(config.ask.ensemble)
    if unknown := [name for name in names if name not in MEMBERS]:
        raise UserError(f"--ensemble {', '.join(unknown)}: choose from {', '.join(MEMBERS)}")
    if not TUNED_MEMBERS.keys() & set(names):
        raise UserError("--ensemble names no prompt with slots to train; add plain, say")
    return {name: MEMBERS[name] for name in names}


def trial_wordings(config: LamaConfig, tokens: Tokenization) -> Wordings:
    """The prompts that a trial can name."""

    def of(worded: Worded) -> Callable[[Task], Wording]:
        return lambda task: worded(task, config, tokens)

    return {name: of(worded) for name, worded in TUNED_MEMBERS.items()}
