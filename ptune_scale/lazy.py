"""What a package offers but imports only when it is asked for.

Command lines are parsed without the libraries that models need, which take seconds to import.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

Record = TypeVar("Record")


def exports(package: str, where: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__`` (PEP 562).

    Args:
        where: by name, the module of the package that has it.

    Example:
        >>> __getattr__ = exports(__name__, {"FrozenLM": "frozen"})
    """

    def get(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{where[name]}"), name)

    return get


class Registry(Mapping[str, Record]):
    """Records by name; the names are known without importing what the records need.

    Args:
        package: where the records' files are.
        where: by name, in the order in which they are listed, "file.CONSTANT".

    Example:
        >>> METHODS: Registry[Method] = Registry(__name__, {"manual": "untrained.MANUAL"})
        >>> METHODS["manual"].run(job)
    """

    def __init__(self, package: str, where: Mapping[str, str]) -> None:
        self._package = package
        self._where = where

    def __getitem__(self, name: str) -> Record:
        file, constant = self._where[name].split(".")
        return getattr(importlib.import_module(f"{self._package}.{file}"), constant)

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)
