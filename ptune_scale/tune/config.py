"""What ``tune`` and ``predict`` can be told; imports nothing heavy."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from ptune_scale.backbone.options import Dtype, Speed
from ptune_scale.flags import OnOff, flag, names_in
from ptune_scale.run.config import (
    JobConfig,
    ModelConfig,
    ParallelConfig,
    PromptConfig,
    RanksConfig,
    RunConfig,
    SearchConfig,
    ServedConfig,
    TrainConfig,
    TuneConfig,
)


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """the task"""

    task: tuple[str, ...] = flag((), "task file (TOML); several for one job of all", common=True)
    train: str = flag(
        "", "without a task file: records to learn from (.jsonl .json .csv .parquet)", common=True
    )
    dev: str = flag(
        "0.1", "file, or share of train, on which the best prompt is chosen", common=True
    )
    test: str = flag("0.2", "file, or share of train, that is reported", common=True)
    pattern: str = flag(
        "", "how a record is asked: '{title}. {body...} [P]*4 Category: [Y]'", common=True
    )
    answer: str = flag("", "column of the right answer", common=True)
    words: str = flag("", "label words, as 'bug=bug,feature=feature request'; '': inferred")
    choices: str = flag("", "comma-separated columns, of which one is the right answer")
    candidates: str = flag("", "file of words or phrases that answers are ranked among")
    text_tokens: int = flag(0, "answers are texts of at most so many tokens", at_least=0)
    columns: str = flag("", "columns of the fields, as 'text=body,id=number'")
    metrics: str = flag("", "comma-separated metrics; '': those of the kind of answer")
    max_length: int = flag(0, "most tokens of a record; 0: as many as the model takes", at_least=0)
    chat: OnOff = flag("off", "put the pattern into a message by the model's chat template")
    on_bad_record: Literal["skip", "stop"] = flag("stop", "what to do with an unreadable record")


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """very many tasks"""

    task_list: str = flag(
        "",
        "directory of task files (TOML), of any number, in it and below it: --tasks_per_batch of "
        "them train at a time, each with an encoder of its own; one that ends makes room for the "
        "next, and new files join. --max_steps is then each task's own (-1: 40 times "
        "tasks_per_batch)",
        common=True,
    )
    follow: OnOff = flag(
        "off", "when all of --task_list are done, wait for new files, until a signal comes"
    )


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """what is compared"""

    method: str = flag(
        "manual,ptuning",
        "comma-separated: manual (the pattern without its slots), ptuning, ptuning_search (see "
        "--search)",
        common=True,
    )


@dataclass(frozen=True, kw_only=True)
class OwnConfig(JobConfig):
    """Everything that a run on tasks of one's own can be told."""

    data: TaskConfig = TaskConfig()
    many: ListConfig = ListConfig()
    ask: CompareConfig = CompareConfig()
    model: ModelConfig = ModelConfig()
    served: ServedConfig = ServedConfig()
    prompt: PromptConfig = PromptConfig()
    train: TrainConfig = TrainConfig()
    search: SearchConfig = SearchConfig()
    tune: TuneConfig = TuneConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()

    def contradictions(self) -> Iterator[str]:
        data, listed = self.data, self.many.task_list
        if sum(map(bool, (data.task, data.train, listed))) != 1:
            yield (
                "give --task FILE.toml, or --train FILE with --pattern and --answer, or "
                "--task_list DIRECTORY"
            )
        if self.many.follow == "on" and not listed:
            yield "--follow on is for --task_list"
        if listed:
            yield from self._not_for_lists()
        if data.task or listed:
            own = {f.name: f.default for f in fields(TaskConfig) if f.name not in ("task", "train")}
            typed = [name for name, default in own.items() if getattr(data, name) != default]
            if typed:
                given = "task" if data.task else "task_list"
                yield f"--{typed[0]} with --{given}: write it into the task file"
        kinds = [data.words, data.choices, data.candidates, data.text_tokens]
        if sum(map(bool, kinds)) > 1:
            yield "give one of --words, --choices, --candidates, --text_tokens"

    def _not_for_lists(self) -> Iterator[str]:
        if self.search.search:
            yield "--search with --task_list: its tasks train with the settings that are typed"
        elif "ptuning" not in names_in(self.ask.method):
            yield f"--task_list is for ptuning, which --method {self.ask.method} leaves out"
        if self.tune.backbone_dropout == "on":
            yield "--backbone_dropout on with --task_list: a task's noise would be its company's"

    @property
    def methods(self) -> tuple[str, ...]:
        return self.search.methods(names_in(self.ask.method))


@dataclass(frozen=True, kw_only=True)
class AskedConfig:
    """what is asked"""

    prompt: str = flag("", "exported prompt: the prompt folder of a run", common=True)
    input: str = flag("", "records (.jsonl .json .csv .parquet)", common=True)
    task: str = flag(
        "",
        "which task of the prompt; by default each record's field 'task', or the only one",
        common=True,
    )


@dataclass(frozen=True, kw_only=True)
class AnswerConfig(AskedConfig):
    """what is answered"""

    output: str = flag(
        "", "the same records with 'answer' and 'score' added, one JSON object a line", common=True
    )
    on_bad_record: Literal["skip", "stop"] = flag("stop", "what to do with an unusable record")
    chunk: int = flag(
        1024, "records between two writes: what is lost at most when it is stopped", at_least=1
    )


@dataclass(frozen=True, kw_only=True)
class UseConfig:
    """the model"""

    model: str = flag("", "where the backbone is now; by default as in training", common=True)
    dtype: Dtype = flag(
        "auto",
        "precision of the backbone; auto: bfloat16 where the machine multiplies it by itself, else "
        "float32",
        common=True,
    )
    speed: Speed = flag(
        "auto", "auto: in the way that is fastest here; plain: as the model was written"
    )
    batch_size: int = flag(64, "rows in a batch, over all ranks", at_least=1)
    batch_tokens: int = flag(
        16384, "most tokens in a batch, padding counted; 0: no limit", at_least=0
    )
    text_cache: float = flag(
        1.0,
        "GiB on each rank for keys and values of what records begin with, before all slots; "
        "0: none, -1: half of what is free",
        at_least=-1,
    )


@dataclass(frozen=True, kw_only=True)
class PredictConfig(RanksConfig):
    """Everything that an answering run can be told."""

    answer: AnswerConfig = AnswerConfig()
    use: UseConfig = UseConfig()
    served: ServedConfig = ServedConfig()
    parallel: ParallelConfig = ParallelConfig()


def pairs_in(text: str, flag_name: str) -> dict[str, Any]:
    """The pairs of "name=value,name=value".

    Raises:
        UserError: one is no pair.
    """
    from ptune_scale.errors import UserError

    pairs = [each.partition("=") for each in names_in(text)]
    wrong = [name for name, sign, value in pairs if not sign or not value.strip()]
    if wrong:
        raise UserError(f"--{flag_name} {text!r}: {wrong[0]!r} is no name=value")
    return {name.strip(): value.strip() for name, _, value in pairs}
