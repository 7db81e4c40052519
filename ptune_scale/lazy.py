"""Names that a package offers but imports only when they are asked for.

Command lines are parsed without the libraries that models need, which take seconds to import.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


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
