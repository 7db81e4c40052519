"""Where prompt encoders live: replicated on the ranks that splice prompts, or owned by one each.

An encoder is never split; at large hidden sizes the encoders of many tasks are simply too many
for one rank, so each rank can own some of them, with their optimizer state. What crosses the
network for that is their rows of the prompt matrix P, which are tiny.

Shapes: R tasks, S slots, H embedding size.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.world import World
from ptune_scale.prompt.kinds import EncoderPlacementKind


@dataclass(frozen=True)
class EncoderPlacement:
    """Which ranks hold each encoder, with its optimizer state; the same object on all ranks.

    Only ranks of the first pipeline stage splice prompts, so only they hold encoders.

    Attributes:
        holders: of each group of tasks that share an encoder, the ranks that hold it. The
            first one speaks for it: writes its checkpoint and contributes its rows of P.
    """

    kind: EncoderPlacementKind
    world: World
    holders: tuple[tuple[int, ...], ...]

    @classmethod
    def build(cls, kind: EncoderPlacementKind, mesh: Mesh, num_groups: int) -> "EncoderPlacement":
        """Place encoders.

        Args:
            kind: "replicated" for all encoders on every rank of the first stage, "owned" for each
                on one of these ranks, dealt out in turn.
        """
        degrees = mesh.degrees
        first_stage = tuple(
            rank for rank in range(degrees.world_size) if degrees.coordinates(rank)[1] == 0
        )
        if kind == "replicated":
            return cls(kind, mesh.world, (first_stage,) * num_groups)
        dealt = (first_stage[group % len(first_stage)] for group in range(num_groups))
        return cls(kind, mesh.world, tuple((rank,) for rank in dealt))

    def of(self, group: int) -> "EncoderPlacement":
        """That of one group, which is then number 0."""
        return replace(self, holders=self.holders[group : group + 1])

    @property
    def held(self) -> tuple[int, ...]:
        """Numbers of the groups that this rank holds."""
        return tuple(g for g, ranks in enumerate(self.holders) if self.world.rank in ranks)

    @property
    def spoken_for(self) -> tuple[int, ...]:
        """Numbers of the groups that this rank speaks for."""
        return tuple(g for g, ranks in enumerate(self.holders) if self.world.rank == ranks[0])

    @property
    def main_speaks_for_all(self) -> bool:
        """Whether the main rank could save everything without the others."""
        return all(ranks[0] == 0 for ranks in self.holders)

    def gather(self, prompts: Tensor, tasks: Sequence[int]) -> Tensor:
        """Complete P on every rank; call on all ranks together.

        Args:
            prompts: (R, S, H), this rank's rows, zero elsewhere.
            tasks: the rows that are asked for, the same on all ranks.

        Returns:
            (R, S, H), the holders' rows to the bit; its gradient goes to this rank's rows.
        """
        everyone = tuple(range(self.world.size))
        if all(ranks == everyone for ranks in self.holders):
            return prompts
        # A rank speaks for all groups that it holds, or for none. Each row has one speaker, so
        # the sums below add nothing but zeros to it and are exact.
        mine = prompts.detach()[list(tasks)]
        rows = mine.clone() if self.spoken_for else torch.zeros_like(mine)
        others = torch.zeros_like(prompts)
        others[list(tasks)] = self.world.sum_(rows) - mine
        return prompts + others

    def check_replicas(self, tensors: Mapping[int, Iterable[Tensor]]) -> None:
        """Make sure that ranks which hold the same group hold the same bits; call on all ranks.

        Args:
            tensors: of some groups (the same on all ranks), those among them that are held here.

        Raises:
            RuntimeError: they do not, so that the ranks train different prompts.
        """
        if all(len(ranks) == 1 for ranks in self.holders):
            return
        found: dict[int, str] = {}
        for digests in self.world.gather({g: _digest(held) for g, held in tensors.items()}):
            for group, digest in digests.items():
                if found.setdefault(group, digest) != digest:
                    raise RuntimeError(
                        "prompt encoders differ between ranks, although all began alike and got "
                        "the same gradients: a machine or a library computes wrongly, and what "
                        "was trained since the last checkpoint is not to be trusted"
                    )


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
