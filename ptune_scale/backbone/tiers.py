"""Where blocks of a text cache lie: the device's memory, the host's, and a file on disk.

A tier holds its blocks in the order of their last use. Shapes: D layers, C key-value heads, T
tokens of a block, W size of a head.
"""

import os
import tempfile
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

_CHUNK = 1 << 28
"""Bytes by which a file tier grows."""


class Tier(Protocol):
    """Holds blocks (D, 2, C, T, W) within a number of bytes.

    Attributes:
        limit: most bytes.
        held: bytes of all blocks.
    """

    limit: int
    held: int

    def put(self, key: Hashable, block: Tensor) -> None:
        """Take a block in, as the one that was used last."""
        ...

    def get(self, key: Hashable) -> Tensor:
        """A block that is held."""
        ...

    def touch(self, key: Hashable) -> None:
        """Take note that a block is used."""
        ...

    def pop_oldest(self) -> tuple[Hashable, Tensor]:
        """Let go of the block whose last use is longest ago; good until the next ``put``."""
        ...

    def __contains__(self, key: Hashable) -> bool: ...


class MemoryTier:
    """Blocks in memory.

    Args:
        limit: most bytes.
        device: where they lie; None for where they come from.
    """

    def __init__(self, limit: int, device: torch.device | None = None) -> None:
        self.limit = limit
        self.held = 0
        self._device = device
        self._blocks: OrderedDict[Hashable, Tensor] = OrderedDict()

    def put(self, key: Hashable, block: Tensor) -> None:
        # A copy: a view would keep all that was computed with it in memory.
        block = block.clone() if self._device is None else block.to(self._device, copy=True)
        self._blocks[key] = block
        self.held += block.nbytes

    def get(self, key: Hashable) -> Tensor:
        return self._blocks[key]

    def touch(self, key: Hashable) -> None:
        self._blocks.move_to_end(key)

    def pop_oldest(self) -> tuple[Hashable, Tensor]:
        key, block = self._blocks.popitem(last=False)
        self.held -= block.nbytes
        return key, block

    def __contains__(self, key: Hashable) -> bool:
        return key in self._blocks


class FileTier:
    """Blocks in files that are mapped into memory; they have no name, and end with the process.

    Room on the disk is taken before it is written to, so that a full one is noticed there: the
    tier then stays as large as it is.

    Args:
        limit: most bytes.
        directory: on the disk that is to be used.
        block_tokens: most tokens of a block.
    """

    def __init__(self, limit: int, directory: Path, block_tokens: int) -> None:
        self.limit = limit
        self.held = 0
        self._directory = directory
        self._block_tokens = block_tokens
        self._size = 0
        self._free: list[Tensor] = []
        self._places: OrderedDict[Hashable, tuple[Tensor, Tensor]] = OrderedDict()

    def put(self, key: Hashable, block: Tensor) -> None:
        room_bytes = block.nbytes // block.shape[3] * self._block_tokens
        if not self._free:
            self._grow(room_bytes)
        if not self._free and self._places:
            self.pop_oldest()
        if not self._free:
            return
        room = self._free.pop()
        place = room[: block.nbytes].view(block.dtype).view(block.shape)
        place.copy_(block)
        self._places[key] = (place, room)
        self.held += room_bytes

    def get(self, key: Hashable) -> Tensor:
        return self._places[key][0]

    def touch(self, key: Hashable) -> None:
        self._places.move_to_end(key)

    def pop_oldest(self) -> tuple[Hashable, Tensor]:
        key, (place, room) = self._places.popitem(last=False)
        self.held -= room.nbytes
        self._free.append(room)
        return key, place

    def __contains__(self, key: Hashable) -> bool:
        return key in self._places

    def _grow(self, room_bytes: int) -> None:
        """Take more room from the disk, as far as there is some."""
        count = min(max(_CHUNK // room_bytes, 1), (self.limit - self._size) // room_bytes)
        if count < 1:
            return
        try:
            chunk = _mapped(self._directory, count * room_bytes)
        except OSError:
            self.limit = self._size
            return
        self._size += chunk.nbytes
        self._free += chunk.split(room_bytes)


def _mapped(directory: Path, size: int) -> Tensor:
    """Bytes of a new file without a name, (size,) uint8."""
    number, path = tempfile.mkstemp(dir=directory)
    try:
        os.unlink(path)
        os.posix_fallocate(number, 0, size)
        name = f"/proc/self/fd/{number}"
        return torch.from_file(name, shared=True, size=size, dtype=torch.uint8)
    finally:
        os.close(number)
