"""The tab key completes commands, flags and values of flags, without loading what models need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("argcomplete")


def completed(line: str, tmp_path: Path) -> set[str]:
    """What a shell would offer behind a line, asked for as argcomplete's own shell code does."""
    out = tmp_path / "out"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    script = "import sys; from ptune_scale.run.main import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    return {word.strip() for word in out.read_text().splitlines()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ptune sup", {"superglue"}),
        ("ptune tune --report", {"--report_to"}),
        ("ptune lama --preset ", {"practical", "paper", "reference"}),
        ("ptune export --to pe", {"peft"}),
        ("ptune no_such_command --x", set()),
    ],
)
def test_words_are_completed(line: str, expected: set[str], tmp_path: Path) -> None:
    assert completed(line, tmp_path) == expected


def test_all_commands_are_offered(tmp_path: Path) -> None:
    assert {"tune", "lama", "doctor"} <= completed("ptune ", tmp_path)
