"""Commands in the documentation: their flags are there, and those that say so are run here."""

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptune_scale.run.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN, NOT_RUN = "<!-- run by tests -->", "<!-- not run by tests -->"
_BLOCK = re.compile(r"^(?P<mark>[^\n]*)\n```bash\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_OURS = re.compile(r"^ptune ([a-z_]+)|\blaunchers/([a-z_]+)\.py")
# Takes what the other takes too, and hands it on.
_HANDS_ON = {"layouts": "lama"}
_SMALL = {"tune": ["--max_steps", "2", "--batch_size", "4", "--dtype", "float32"]}


def blocks(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each block of commands: the line above it, and its commands."""
    for match in _BLOCK.finditer(page.read_text()):
        lines = match["body"].replace("\\\n", " ").splitlines()
        yield match["mark"], [line for line in lines if line.strip()]


def words_of(command: str) -> list[str]:
    return shlex.split(command, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_of_commands_says_whether_it_is_run(page: Path) -> None:
    assert page.read_text().count("```bash\n") == len(list(blocks(page)))
    for mark, commands in blocks(page):
        assert mark in (RUN, NOT_RUN), commands


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """The flags of each command."""
    found = {}
    for name in COMMANDS:
        with pytest.MonkeyPatch.context() as patch:
            written: list[str] = []
            patch.setattr(sys.stdout, "write", written.append)
            with pytest.raises(SystemExit):
                main([name, "--help", "all"])
        found[name] = set(re.findall(r"--[\w-]+", "".join(written)))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_in_commands_are_those_that_there_are(page: Path, flags) -> None:
    for _, commands in blocks(page):
        for command in commands:
            if (match := _OURS.search(command)) is None:
                continue
            name = match[1] or match[2]
            # What stands behind "--" goes to other commands.
            typed = shlex.split(command[match.end() :].partition(" -- ")[0], comments=True)
            known = flags[name] | flags.get(_HANDS_ON.get(name, ""), set())
            assert {word.split("=")[0] for word in typed if word.startswith("--")} <= known, command


@pytest.mark.parametrize(
    "page", [p for p in PAGES if RUN in p.read_text()], ids=lambda page: page.name
)
def test_commands_run_in_their_order(
    page: Path, tiny_llama: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    pytest.importorskip("babel")
    monkeypatch.chdir(tmp_path)
    ours = [command for mark, commands in blocks(page) if mark == RUN for command in commands]
    for command in ours:
        first, *words = words_of(command)
        if first == "python":
            monkeypatch.setattr(sys, "argv", words[1:])
            with pytest.raises(SystemExit) as ended:
                runpy.run_module(words[1], run_name="__main__")
            assert ended.value.code == 0, command
        else:
            assert first == "ptune", command
            more = _SMALL.get(words[0], [])
            if words[0] == "tune":
                more = [*more, "--model", str(tiny_llama)]
            assert main([*words, *more]) == 0, (command, capsys.readouterr().err)


def test_the_site_is_built_without_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="pip install mkdocs-material mkdocstrings-python")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "api" / "index.html").read_text()
    assert "load_prompt" in api and "PtuneModel" in api
