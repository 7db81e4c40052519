"""The prompt bank: everything that is trained, and the prompt matrix P that it yields.

Shapes: R tasks, S prompt slots, H the backbone's embedding size.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ptune_scale.prompt.encoder import build_encoder, count_parameters, silence, start_at
from ptune_scale.prompt.kinds import EncoderKind, EncoderSharing


@dataclass(frozen=True, kw_only=True)
class EncoderPlan:
    """An encoder that is to be built, and the tasks that it serves.

    Attributes:
        name: unique in a bank; what its part of a checkpoint is called.
        tasks: positions of its tasks in the bank; each has S free vectors of its own.
        num_slots: S of these tasks.
        seed: of the initial values.
        vector_std: standard deviation of the initial vectors.
        center: (H,), where the initial prompt embeddings lie around; None for wherever the
            encoder puts them.
        start: (len(tasks), S, H), what the prompt embeddings begin as, whatever the encoder;
            takes the place of ``center``.
    """

    name: str
    tasks: tuple[int, ...]
    num_slots: int
    kind: EncoderKind = "lstm"
    seed: int = 0
    vector_std: float = 1.0
    center: Tensor | None = None
    start: Tensor | None = None


def plan_encoders(
    task_ids: Sequence[str],
    num_slots: int,
    *,
    kind: EncoderKind = "lstm",
    sharing: EncoderSharing = "all",
    seed: int = 34,
    vector_std: float = 1.0,
    center: Tensor | None = None,
    start: Tensor | None = None,
) -> list[EncoderPlan]:
    """Encoders that are all of one kind.

    With ``sharing="all"`` one serves all tasks (vectors stay per task); with ``"none"`` each task
    has its own, as in the paper. A task's initial values depend on ``seed`` and, where nothing is
    shared, on its own id alone: whoever else is in the job makes no difference.

    Args:
        start: (R, S, H).
    """
    shares = sharing == "all"
    return [
        EncoderPlan(
            name="shared" if shares else task_ids[group[0]],
            tasks=tuple(group),
            num_slots=num_slots,
            kind=kind,
            seed=stable_seed(seed, "prompt", "" if shares else task_ids[group[0]]),
            vector_std=vector_std,
            center=center,
            start=None if start is None else start[group],
        )
        for group in group_members(len(task_ids), sharing)
    ]


class EncoderGroup(nn.Module):
    """An encoder with the free vectors of the tasks that share it."""

    def __init__(self, plan: EncoderPlan, hidden_size: int) -> None:
        super().__init__()
        self.position = {task: row for row, task in enumerate(plan.tasks)}
        shape = (len(plan.tasks), plan.num_slots, hidden_size)
        self.vectors = nn.Parameter(torch.randn(shape) * plan.vector_std)
        self.encoder = build_encoder(plan.kind, hidden_size)
        self.register_buffer("start", None)
        if plan.start is not None and plan.kind == "none":
            self.vectors.data.copy_(plan.start)
        elif plan.start is not None:
            # The encoder learns what is added to it, beginning with nothing.
            self.start = plan.start.clone()
            silence(self.encoder)
        elif plan.center is not None and plan.kind == "none":
            self.vectors.data += plan.center
        elif plan.center is not None:
            start_at(self.encoder, plan.center)

    def forward(self, tasks: Sequence[int]) -> Tensor:
        """P of some of the group's tasks, (len(tasks), S, H)."""
        rows = torch.tensor([self.position[task] for task in tasks])
        rows = rows.to(self.vectors.device)
        encoded = self.encoder(self.vectors.index_select(0, rows))
        return encoded if self.start is None else encoded + self.start.index_select(0, rows)


class PromptBank(nn.Module):
    """Trainable prompts of all tasks of a job.

    A process can hold some of the encoders only: those it does not hold are never built, and the
    rows of their tasks are zero in its P.

    Args:
        task_ids: one id per task; their order is the order of P's rows.
        num_slots: S of P; what a task has less is zero.
        encoders: each task is served by one of them.
        held: numbers of the encoders to build; None for all.

    Attributes:
        members: of each group of tasks that share an encoder, their positions in the bank.
        group_names: of each group, its encoder's name.
        groups: the groups that are held, by number.

    Example:
        >>> PromptBank(["P36"], 6, 576, plan_encoders(["P36"], 6))(tasks=[0]).shape
        torch.Size([1, 6, 576])
    """

    _no_rows: Tensor

    def __init__(
        self,
        task_ids: Sequence[str],
        num_slots: int,
        hidden_size: int,
        encoders: Sequence[EncoderPlan],
        *,
        held: Collection[int] | None = None,
    ) -> None:
        super().__init__()
        self.task_ids = tuple(task_ids)
        self.shape = (len(task_ids), num_slots, hidden_size)
        self.plans = tuple(encoders)
        self.members = [list(plan.tasks) for plan in encoders]
        self.group_names = tuple(plan.name for plan in encoders)
        self.groups: dict[int, EncoderGroup] = {}
        for number, plan in enumerate(encoders):
            if held is not None and number not in held:
                continue
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(plan.seed)
                self.groups[number] = EncoderGroup(plan, hidden_size)
        self._modules_held = nn.ModuleList(self.groups.values())
        self.register_buffer("_no_rows", torch.zeros(self.shape), persistent=False)
        self._group_of = {r: g for g, group in enumerate(self.members) for r in group}

    @property
    def num_parameters(self) -> int:
        """Trainable parameters of all groups, held or not."""
        hidden_size = self.shape[-1]
        return sum(
            count_parameters(plan.kind, hidden_size, len(plan.tasks) * plan.num_slots)
            for plan in self.plans
        )

    def active_groups(self, tasks: Iterable[int]) -> list[int]:
        """The groups that these tasks belong to, held or not, in ascending order."""
        return sorted({self._group_of[task] for task in tasks})

    def forward(self, tasks: Sequence[int]) -> Tensor:
        """P, (R, S, H) in fp32: rows of ``tasks`` are encoded, all others are zero.

        Only the encoders of these tasks run, so only they receive gradients. Rows of a group
        that is not held are zero too; where none is held, P needs no gradient.
        """
        order: list[int] = []
        encoded: list[Tensor] = []
        for group in self.active_groups(tasks):
            if group not in self.groups:
                continue
            mine = [task for task in tasks if self._group_of[task] == group]
            rows = self.groups[group](mine)
            missing = self.shape[1] - rows.shape[1]
            encoded.append(nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows)
            order += mine
        if not encoded:
            return self._no_rows.clone()
        rows = torch.cat(encoded)
        return self._no_rows.index_copy(0, torch.tensor(order, device=rows.device), rows)


def group_members(num_tasks: int, sharing: EncoderSharing) -> list[list[int]]:
    """Of each encoder, the positions of the tasks that it serves."""
    everyone = range(num_tasks)
    return [list(everyone)] if sharing == "all" else [[index] for index in everyone]


def stable_seed(*parts: object) -> int:
    """A 63-bit seed that is the same in every process and on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
