"""Everything that can be found wrong with a request before ranks start or anything is written."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.flags import names_in
from ptune_scale.lama.config import FactsConfig, LamaConfig, QuestionConfig
from ptune_scale.lama.job import CheckedFacts
from ptune_scale.lama.methods import METHODS
from ptune_scale.lama.methods.demonstrations import RETRIEVED, with_retrieved
from ptune_scale.lama.methods.wordings import Worded, members, trial_wordings
from ptune_scale.lama.reader.embedded import load_embedded
from ptune_scale.lama.reader.facts import FactSet
from ptune_scale.lama.reader.files import load_lama
from ptune_scale.lama.reader.prepare import make_tasks
from ptune_scale.lama.reader.published import (
    LPAQA_KINDS,
    Published,
    prompts_directory,
    read_lpaqa,
)
from ptune_scale.lama.reference import Reference, reference_counts, reference_pattern
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import SUBJECT, Kind, Pattern
from ptune_scale.task.task import Task
from ptune_scale.task.tokenization import Tokenization
from ptune_scale.tune.check import check_methods, check_trials, open_model

_LONG_FACT = 32
"""Tokens, with the words around it."""


def check(config: LamaConfig) -> CheckedFacts:
    """Read the facts, open the model, and see whether they go together.

    Raises:
        UserError: the first thing that is wrong.
    """
    methods = check_methods(config.methods, config.ask.method, METHODS)
    if config.data.objects == "all":
        _check_phrases(config, methods)
    pattern_of(config.ask, "masked")
    facts = read_facts(config.data)
    published = _published(config, methods, [relation.id for relation in facts.relations])
    shows = any(METHODS[name].shows_facts for name in methods)
    degrees, backbone = open_model(
        config,
        methods,
        METHODS,
        config.ask.method,
        length=_LONG_FACT * (1 + shows * config.ask.num_fixed),
        tasks=len(facts.relations),
    )
    if "random_model" in methods and not degrees.is_whole:
        raise UserError(
            f"control random_model in layout {degrees.name}: each rank holds that model whole; add "
            "--zero_stage 0 and leave out --tensor_parallel and --pipeline_parallel, or leave the "
            "control out"
        )
    local = [name for name in methods if not METHODS[name].can_be_served]
    if config.served.backbone and local:
        raise UserError(
            f"--backbone with {', '.join(local)}: mixtures of prompts, and random weights, need a "
            "model here; leave that method or control out, or --backbone"
        )
    tasks = make_tasks(facts, backbone.tokens, config.data, pattern_of(config.ask, backbone.kind))
    if config.ask.spelling == "reference":
        tasks = [_in_reference_layout(task) for task in tasks]
    if _retrieves(config, methods, tasks[0], backbone.tokens):
        tasks = [with_retrieved(task, config.ask.num_retrieved) for task in tasks]
    for name in methods:
        _check_fits(name, tasks, backbone, config)
    dropped = sum((task.splits.dropped for task in tasks), Counter(facts.dropped))
    trials = check_trials(config, methods, tasks, backbone, trial_wordings(config, backbone.tokens))
    return CheckedFacts(config, degrees, backbone, tasks, methods, published, dropped, trials)


def _worded(method: str, config: LamaConfig) -> list[Worded]:
    """How a method words its questions, as far as that is known before it begins."""
    alone = METHODS[method].worded
    together = members(config).values() if method == "ptuning_ensemble" else ()
    return list(filter(None, (alone, *together)))


def _retrieves(
    config: LamaConfig, methods: Sequence[str], task: Task, tokens: Tokenization
) -> bool:
    """Whether any question needs facts that are retrieved for it, or a trial may ask for them."""
    worded = [each for name in methods for each in _worded(name, config)]
    found = [each(task, config, tokens).pattern for each in worded]
    return "ptuning_search" in methods or any(RETRIEVED in each.names for each in found)


def read_facts(data: FactsConfig) -> FactSet:
    """The relations that are asked for.

    Raises:
        UserError: a file cannot be read, or a relation is not there.
    """
    if data.data_dir == "embedded":
        facts = load_embedded()
    else:
        facts = load_lama(Path(data.data_dir), data.on_bad_record)
    return facts.select(list(names_in(data.relations)))


def pattern_of(ask: QuestionConfig, kind: Kind) -> Pattern:
    """The pattern of ``ptuning``.

    Raises:
        UserError: it has no slot, or does not ask about the subject.
    """
    if ask.spelling == "reference":
        pattern = reference_pattern(reference_counts(ask.template), kind)
    else:
        pattern = Pattern.parse(ask.template)
    if not pattern.num_slots:
        raise UserError(f"template {ask.template!r} has no prompt slot [P] to train")
    if pattern.names != [SUBJECT]:
        raise UserError(
            f"template {ask.template!r} asks about {', '.join(pattern.names) or 'nothing'}; write "
            "[X] for the subject, and no other field"
        )
    return pattern


def _check_phrases(config: LamaConfig, methods: Sequence[str]) -> None:
    refused = [name for name in methods if not METHODS[name].takes_phrases]
    if refused:
        raise UserError(
            f"--objects all with --method {', '.join(refused)}: its words are chosen for answers "
            "of one token; leave one of them out"
        )
    if config.ask.spelling == "reference":
        raise UserError(
            "--objects all with --spelling reference: the published code trains one position; "
            "leave one of them out"
        )


def _published(
    config: LamaConfig, methods: Sequence[str], relations: Sequence[str]
) -> dict[str, Published]:
    if "lpaqa" not in methods:
        return {}
    directory = prompts_directory(config.data.data_dir, config.discrete.prompts_dir)
    on_bad_record = config.data.on_bad_record
    return {kind: read_lpaqa(directory, kind, relations, on_bad_record) for kind in LPAQA_KINDS}


def _in_reference_layout(task: Task) -> Task:
    answer = task.wording.answer
    assert isinstance(answer, Ranked)
    return task.worded(task.wording.pattern, Reference(answer.sets, one_token=True))


def _check_fits(method: str, tasks: Sequence[Task], backbone: Backbone, config: LamaConfig) -> None:
    """Make sure that a method's wordings fit the model; all rows are made when they are needed.

    Raises:
        UserError: a wording does not fit the kind of model, or a long fact its context.
    """
    for task, worded in itertools.product(tasks, _worded(method, config)):
        asked = AskedTask(
            task,
            backbone.tokens,
            0,
            wording=worded(task, config, backbone.tokens),
            context_length=context_length(backbone.config),
        )
        facts = (*task.splits.train, *task.splits.dev, *task.splits.test)
        longest = max(facts, key=lambda record: sum(map(len, record.fields.values())))
        asked.questions([longest], "evaluate")
