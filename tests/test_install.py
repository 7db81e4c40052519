"""Installed from a copy, the package works away from its checkout."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ptune_scale.run.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A directory with the package and its scripts, its dependencies being those of the tests."""
    copy, target = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("installed")
    for name in ("ptune_scale", "ds_configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(target), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(copy)
    return target


def run(installed: Path, *command: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        command, env=environment, cwd=cwd, check=True, capture_output=True, text=True
    ).stdout


def test_the_command_ptune_is_there(installed, tmp_path):
    script = str(installed / "bin" / "ptune")
    assert all(name in run(installed, script, "--help", cwd=tmp_path) for name in COMMANDS)
    assert "usage: ptune convert" in run(installed, script, "convert", "--help", cwd=tmp_path)


def test_all_files_that_are_not_python_are_there(installed, tmp_path):
    script = (
        "import json, ptune_scale\n"
        "from pathlib import Path\n"
        "from ptune_scale.parallel.zero3 import DEFAULT_CONFIG, read_config\n"
        "import torch\n"
        "read_config(DEFAULT_CONFIG, torch.float32)\n"
        "print(json.dumps(ptune_scale.__file__))\n"
    )
    where = json.loads(run(installed, sys.executable, "-P", "-c", script, cwd=tmp_path))
    assert Path(where).is_relative_to(installed)
    checkout = ROOT / "ptune_scale"
    for path in checkout.rglob("*"):
        if path.is_file() and path.suffix not in (".pyc", ".py"):
            assert (installed / "ptune_scale" / path.relative_to(checkout)).is_file(), path


def test_all_dependencies_are_pinned_for_those_who_develop(installed):
    [metadata] = installed.glob("ptune_scale-*.dist-info/METADATA")
    needed = email.message_from_string(metadata.read_text()).get_all("Requires-Dist") or []
    names = {re.match(r"[\w.-]+", one)[0] for one in needed}
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert names == set(pinned)
