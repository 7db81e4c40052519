"""The layout of folders: imports run down one list only."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ptune_scale

PACKAGE = Path(ptune_scale.__file__).parent

FLOORS = [
    {
        "errors",
        "lazy",
        "strict_json",
        "reading",
        "flags",
        "parser",
        "files",
        "progress",
        "board",
    },
    {"trackers"},
    {"task"},
    {"prompt"},
    {"splice"},
    {"backbone"},
    {"parallel"},
    {"train"},
    {"use"},
    {"report"},
    {"run"},
    {"plan"},
    {"serve"},
    {"tune"},
    {"lama", "superglue"},
    {"evaluate"},
    {"experiments"},
    {"__init__", "__main__"},
]
"""Each may import itself and what stands above it."""

_FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """The folders of the package that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ptune_scale" and len(parts) > 1 and parts[1] in _FLOOR:
                found.add(parts[1])
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_down_the_list_only(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    below = {name for name in _imports(path) if _FLOOR[name] > _FLOOR[own]}
    assert not below, f"{own} is above {', '.join(below)}"


def test_no_files_import_each_other_in_a_circle() -> None:
    names = {
        path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in _modules()
    }
    known = {name: path for path, name in names.items()}
    graph = {}
    for path, name in names.items():
        if path.name == "__init__.py":
            continue  # a package's names are imported when they are asked for
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        graph[name] = {other for other in found & known.keys() if other != name}
    TopologicalSorter(graph).prepare()


def test_every_folder_says_what_lives_there() -> None:
    silent = [
        str(path.parent.relative_to(PACKAGE))
        for path in PACKAGE.rglob("__init__.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_no_two_classes_share_a_name() -> None:
    names: dict[str, str] = {}
    twice = []
    for path in _modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                if node.name in names:
                    twice.append(f"{node.name}: {names[node.name]} and {path.name}")
                names[node.name] = str(path.relative_to(PACKAGE))
    assert not twice
