"""Reading a checkpoint slice by slice, so that no rank reads or holds more than its own part.

A source knows names and shapes without reading a weight. Formats with more than one file check all
of them before the first slice is read: a missing, truncated or swapped file is named at once.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.reading import has_file, is_texts, read_object, shown

_COMPARED = 1 << 24
"""Elements of two tensors that are compared at a time."""


class CannotSlice(UserError):
    """A checkpoint that transformers can load as a whole, but that cannot be read in slices."""


class WeightSource(ABC):
    """Named tensors of a checkpoint, read in slices."""

    @abstractmethod
    def names(self) -> frozenset[str]:
        """Names of all tensors."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a whole tensor, without reading it."""

    @abstractmethod
    def read(self, name: str, dim: int = 0, start: int = 0, stop: int | None = None) -> Tensor:
        """The slice [start, stop) of a tensor along one dimension, in the stored dtype, on the CPU.

        Only the files and, as far as the format allows, only the bytes of the slice are read.
        """

    def same(self, name: str, other: str) -> bool:
        """Whether two tensors are equal, read some rows at a time, and remembered."""
        if (name, other) not in self._compared:
            self._compared[name, other] = self._are_equal(name, other)
        return self._compared[name, other]

    @cached_property
    def _compared(self) -> dict[tuple[str, str], bool]:
        return {}

    def _are_equal(self, name: str, other: str) -> bool:
        shape = self.shape(name)
        if shape != self.shape(other):
            return False
        rows = shape[0] if shape else 1
        step = max(1, _COMPARED // max(1, torch.Size(shape[1:]).numel()))
        return all(
            torch.equal(
                self.read(name, 0, start, min(start + step, rows)),
                self.read(other, 0, start, min(start + step, rows)),
            )
            for start in range(0, rows, step)
        )

    def read_flat(self, name: str, start: int, stop: int) -> Tensor:
        """Elements [start, stop) of the flattened tensor; reads the rows that hold them."""
        shape = self.shape(name)
        if not shape or start >= stop:
            return self.read(name).flatten()[start:stop]
        per_row = max(1, torch.Size(shape[1:]).numel())
        first, last = start // per_row, -(-stop // per_row)
        rows = self.read(name, 0, first, last).flatten()
        return rows[start - first * per_row : stop - first * per_row]


def _opened(path: Path, what: str) -> safe_open:
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise UserError(f"weight {what} {path} is truncated or damaged ({error})") from error


class SafetensorsSource(WeightSource):
    """``model.safetensors``, or the shards that ``model.safetensors.index.json`` names.

    Where both are there, the single file is the model, as it is for transformers.

    Args:
        directory: a model directory.

    Raises:
        CannotSlice: neither of these files.
        UserError: an index that cannot be read, a shard that is missing, truncated
            or holds other tensors than the index says.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file_of = self._find_files(directory)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._open: dict[Path, safe_open] = {}
        for path in sorted(set(self._file_of.values())):
            expected = {name for name, file in self._file_of.items() if file == path}
            self._check_file(path, expected)

    @staticmethod
    def _find_files(directory: Path) -> dict[str, Path]:
        single = directory / "model.safetensors"
        if has_file(single):
            with _opened(single, "file") as file:
                return dict.fromkeys(file.keys(), single)
        index = directory / "model.safetensors.index.json"
        if not has_file(index):
            raise CannotSlice(f"model directory {directory} has no model.safetensors and no index")
        weight_map = read_object(index, "weight index").get("weight_map")
        if not weight_map or not is_texts(weight_map):
            raise UserError(f"{index} is not an index of safetensors shards")
        outside = [file for file in weight_map.values() if Path(file).name != file]
        if outside:
            raise UserError(f"{index} names {shown(outside[0])}, which is no file beside it")
        return {name: directory / file for name, file in weight_map.items()}

    def _check_file(self, path: Path, expected: set[str]) -> None:
        if not has_file(path):
            raise UserError(f"weight shard {path} is missing (the index names it)")
        file = _opened(path, "shard")
        missing = expected - set(file.keys())
        if missing:
            raise UserError(
                f"weight shard {path} does not hold {min(missing)!r}, which the index says it "
                "does: is it the file of another model or another shard?"
            )
        self._open[path] = file
        for name in expected:
            self._shapes[name] = tuple(file.get_slice(name).get_shape())

    def names(self) -> frozenset[str]:
        return frozenset(self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def read(self, name: str, dim: int = 0, start: int = 0, stop: int | None = None) -> Tensor:
        file = self._open[self._file_of[name]]
        shape = self._shapes[name]
        stop = shape[dim] if shape and stop is None else stop
        if not shape or (start, stop) == (0, shape[dim]):
            return file.get_tensor(name)
        part = file.get_slice(name)
        return part[(slice(None),) * dim + (slice(start, stop),)]
