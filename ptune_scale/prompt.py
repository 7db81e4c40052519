"""The prompt bank: everything that is trained, and the prompt matrix P that it yields.

Shapes: R relations, S prompt slots, H the backbone's embedding size.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ptune_scale.encoder import EncoderKind, build_encoder, start_at

EncoderSharing = Literal["all", "none"]


class EncoderGroup(nn.Module):
    """Relations that share one encoder; each has S free vectors of its own.

    Args:
        relations: positions of its relations in the bank.
        vector_std: standard deviation of the initial vectors.
        center: (H,), where the initial prompt embeddings lie around; None for wherever the
            encoder puts them.
    """

    def __init__(
        self,
        relations: Sequence[int],
        num_slots: int,
        hidden_size: int,
        kind: EncoderKind,
        vector_std: float,
        center: Tensor | None,
    ) -> None:
        super().__init__()
        self.position = {relation: row for row, relation in enumerate(relations)}
        self.vectors = nn.Parameter(
            torch.randn(len(relations), num_slots, hidden_size) * vector_std
        )
        self.encoder = build_encoder(kind, hidden_size)
        if center is not None and kind == "none":
            self.vectors.data += center
        elif center is not None:
            start_at(self.encoder, center)

    def forward(self, relations: Sequence[int]) -> Tensor:
        """P of some of the group's relations, (len(relations), S, H)."""
        rows = torch.tensor([self.position[relation] for relation in relations])
        return self.encoder(self.vectors.index_select(0, rows.to(self.vectors.device)))


class PromptBank(nn.Module):
    """Trainable prompts of all relations of a job.

    With ``sharing="all"`` one encoder serves all relations (vectors stay per relation); with
    ``"none"`` each relation has its own encoder, as in the paper. A relation's initial values
    depend on ``seed`` and, where nothing is shared, on its own id alone: whoever else is in the
    job makes no difference.

    Args:
        relation_ids: one id per relation; their order is the order of P's rows.
        vector_std: standard deviation of the initial free vectors.
        center: (H,), where the initial prompt embeddings lie around, if given.
    """

    def __init__(
        self,
        relation_ids: Sequence[str],
        num_slots: int,
        hidden_size: int,
        *,
        kind: EncoderKind = "lstm",
        sharing: EncoderSharing = "all",
        seed: int = 34,
        vector_std: float = 1.0,
        center: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.relation_ids = tuple(relation_ids)
        self.shape = (len(relation_ids), num_slots, hidden_size)
        everyone = range(len(relation_ids))
        members = [list(everyone)] if sharing == "all" else [[index] for index in everyone]
        self.groups = nn.ModuleList()
        for group in members:
            name = "" if sharing == "all" else relation_ids[group[0]]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stable_seed(seed, "prompt", name))
                self.groups.append(
                    EncoderGroup(group, num_slots, hidden_size, kind, vector_std, center)
                )
        self._group_of = {r: g for g, group in enumerate(members) for r in group}

    def active_groups(self, relations: Iterable[int]) -> list[int]:
        """The groups whose encoders run for these relations, in ascending order."""
        return sorted({self._group_of[relation] for relation in relations})

    def forward(self, relations: Sequence[int]) -> Tensor:
        """P, (R, S, H) in fp32: rows of ``relations`` are encoded, all others are zero.

        Only the encoders of these relations run, so only they receive gradients.
        """
        order: list[int] = []
        encoded: list[Tensor] = []
        for group in self.active_groups(relations):
            mine = [relation for relation in relations if self._group_of[relation] == group]
            encoded.append(self.groups[group](mine))
            order += mine
        rows = torch.cat(encoded)
        empty = torch.zeros(self.shape, dtype=rows.dtype, device=rows.device)
        return empty.index_copy(0, torch.tensor(order, device=rows.device), rows)


def stable_seed(*parts: object) -> int:
    """A 63-bit seed that is the same in every process and on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
