"""The prompt bank: everything that is trained, and the prompt matrix P that it yields.

Shapes: R tasks, S prompt slots, H the backbone's embedding size.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor, nn

from ptune_scale.prompt.encoder import build_encoder, count_parameters, silence, start_at
from ptune_scale.prompt.kinds import EncoderKind, EncoderSharing


class EncoderGroup(nn.Module):
    """Tasks that share one encoder; each has S free vectors of its own.

    Args:
        tasks: positions of its tasks in the bank.
        vector_std: standard deviation of the initial vectors.
        center: (H,), where the initial prompt embeddings lie around; None for wherever the
            encoder puts them.
        start: (len(tasks), S, H), what the prompt embeddings begin as, whatever the encoder;
            takes the place of ``center``.
    """

    def __init__(
        self,
        tasks: Sequence[int],
        num_slots: int,
        hidden_size: int,
        kind: EncoderKind,
        vector_std: float,
        center: Tensor | None,
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.position = {task: row for row, task in enumerate(tasks)}
        self.vectors = nn.Parameter(torch.randn(len(tasks), num_slots, hidden_size) * vector_std)
        self.encoder = build_encoder(kind, hidden_size)
        self.register_buffer("start", None)
        if start is not None and kind == "none":
            self.vectors.data.copy_(start)
        elif start is not None:
            # The encoder learns what is added to it, beginning with nothing.
            self.start = start.clone()
            silence(self.encoder)
        elif center is not None and kind == "none":
            self.vectors.data += center
        elif center is not None:
            start_at(self.encoder, center)

    def forward(self, tasks: Sequence[int]) -> Tensor:
        """P of some of the group's tasks, (len(tasks), S, H)."""
        rows = torch.tensor([self.position[task] for task in tasks])
        rows = rows.to(self.vectors.device)
        encoded = self.encoder(self.vectors.index_select(0, rows))
        return encoded if self.start is None else encoded + self.start.index_select(0, rows)


class PromptBank(nn.Module):
    """Trainable prompts of all tasks of a job.

    With ``sharing="all"`` one encoder serves all tasks (vectors stay per task); with
    ``"none"`` each task has its own encoder, as in the paper. A task's initial values
    depend on ``seed`` and, where nothing is shared, on its own id alone: whoever else is in the
    job makes no difference. So a process can hold some of the encoders only: those it does not
    hold are never built, and the rows of their tasks are zero in its P.

    Args:
        task_ids: one id per task; their order is the order of P's rows.
        vector_std: standard deviation of the initial free vectors.
        center: (H,), where the initial prompt embeddings lie around, if given.
        start: (R, S, H), what the prompt embeddings begin as, if given.
        held: numbers of the groups to build; None for all.

    Attributes:
        members: of each group, the positions of its tasks.
        group_names: of each group, its task's id, or "shared".
        groups: the groups that are held, by number.
    """

    _no_rows: Tensor

    def __init__(
        self,
        task_ids: Sequence[str],
        num_slots: int,
        hidden_size: int,
        *,
        kind: EncoderKind = "lstm",
        sharing: EncoderSharing = "all",
        seed: int = 34,
        vector_std: float = 1.0,
        center: Tensor | None = None,
        start: Tensor | None = None,
        held: Collection[int] | None = None,
    ) -> None:
        super().__init__()
        self.task_ids = tuple(task_ids)
        self.shape = (len(task_ids), num_slots, hidden_size)
        self.kind = kind
        self.members = group_members(len(task_ids), sharing)
        self.group_names = ("shared",) if sharing == "all" else self.task_ids
        self.groups: dict[int, EncoderGroup] = {}
        for number, group in enumerate(self.members):
            if held is not None and number not in held:
                continue
            name = "" if sharing == "all" else task_ids[group[0]]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stable_seed(seed, "prompt", name))
                begin = None if start is None else start[group]
                self.groups[number] = EncoderGroup(
                    group, num_slots, hidden_size, kind, vector_std, center, begin
                )
        self._modules_held = nn.ModuleList(self.groups.values())
        self.register_buffer("_no_rows", torch.zeros(self.shape), persistent=False)
        self._group_of = {r: g for g, group in enumerate(self.members) for r in group}

    @property
    def num_parameters(self) -> int:
        """Trainable parameters of all groups, held or not."""
        tasks, num_slots, hidden_size = self.shape
        encoder = count_parameters(self.kind, hidden_size, num_slots=0)
        return tasks * num_slots * hidden_size + len(self.members) * encoder

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
            encoded.append(self.groups[group](mine))
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
