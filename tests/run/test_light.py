"""Command lines are parsed without the libraries that models need: help and errors come at once."""

import subprocess
import sys

import pytest

from ptune_scale.run.main import COMMANDS

HEAVY = ("torch", "transformers", "deepspeed", "fairscale", "sklearn", "scipy", "matplotlib")

_SCRIPT = """
import sys
from ptune_scale.run.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as left:
    status = left.code
heavy = [name for name in {heavy} if name in sys.modules]
print("imported:", *heavy)
sys.exit(status)
"""


def parsed(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = _SCRIPT.format(heavy=HEAVY)
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("size", [(), ("all",)], ids=["help", "help all"])
def test_help_imports_nothing_heavy(command, size):
    done = parsed(command, "--help", *size)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("usage: ") and f"ptune {command}" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_flag_is_one_line_and_imports_nothing_heavy(command):
    done = parsed(command, "--no_such_flag", "1")
    assert done.returncode == 2, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["imported:"]
    [line] = done.stderr.splitlines()
    assert line.startswith(f"ptune {command}: error: ")


def test_the_list_of_commands_imports_nothing_heavy():
    assert parsed("--help").stdout.splitlines()[-1] == "imported:"


def test_the_package_offers_its_names_and_imports_them_when_they_are_asked_for():
    script = (
        "import sys, ptune_scale\n"
        "assert 'torch' not in sys.modules\n"
        "for name in ptune_scale.__all__: getattr(ptune_scale, name)\n"
        "assert not hasattr(ptune_scale, 'nothing')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
