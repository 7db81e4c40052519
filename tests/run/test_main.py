"""``ptune`` lists its commands, runs them, and knows which one was meant."""

import subprocess
import sys
from pathlib import Path

import pytest

from ptune_scale import __version__
from ptune_scale.run.main import COMMANDS, main

LAUNCHERS = Path(__file__).resolve().parents[2] / "launchers"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_has_a_line_for_each_command(capsys, arguments):
    assert main(arguments) == 0
    text = capsys.readouterr().out
    for name, (_, what) in COMMANDS.items():
        assert [line for line in text.splitlines() if line.split()[:1] == [name] and what in line]


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ptune {__version__}\n"


def test_an_unknown_command_is_one_line(capsys):
    assert main(["tun"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "unknown tun" in line and "did you mean tune?" in line and "ptune --help" in line


def test_each_command_has_a_launcher_that_calls_the_same_main():
    assert {path.stem for path in LAUNCHERS.glob("*.py")} == set(COMMANDS)
    for name in COMMANDS:
        assert f'sys.exit(run("{name}"))' in (LAUNCHERS / f"{name}.py").read_text()


def test_the_first_word_names_the_command_and_the_rest_are_its_flags(tmp_path):
    command = [sys.executable, "-m", "ptune_scale", "convert"]
    flags = ["--from", str(tmp_path / "none"), "--to", str(tmp_path / "new")]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"ptune convert: error: --from {tmp_path}/none: no such directory\n"
