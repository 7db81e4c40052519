"""The doctor tells what is here, and is content only where all that is needed is."""

import importlib.metadata

import pytest

from ptune_scale.lama.methods import METHODS
from ptune_scale.run import doctor
from ptune_scale.trackers import TRACKERS
from ptune_scale.trackers.tracker import Tracker
from ptune_scale.use.formats import FORMATS


def test_what_is_here_is_told(capsys) -> None:
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    for name in (
        "torch",
        "CPU: ",
        "--dtype auto is",
        "ZeRO-3",
        "splice: ",
        *FORMATS,
        *TRACKERS,
        *METHODS,
    ):
        assert name in text
    assert "all that is needed is here" in text


@pytest.mark.parametrize("asked", ["no_such_package", "torch>=99"])
def test_a_core_package_that_is_missing_or_does_not_fit_is_not_in_order(
    asked: str, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["tqdm", asked])
    assert doctor.main([]) == 2
    text = capsys.readouterr().out
    name = asked.partition(">")[0]
    assert f"pip install {name}" in text and f"not in order: {name}" in text


def test_what_is_missing_for_some_uses_is_in_order(capsys, monkeypatch) -> None:
    wanted = ['no_such_package; extra == "parquet"', 'nor_this; extra == "test"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert "no_such_package (parquet)" in text and "nor_this" not in text


def test_a_new_record_appears_by_itself(capsys, monkeypatch) -> None:
    absent = Tracker("jsonl", "", TRACKERS["jsonl"].open, needs=("no_such_library",))
    monkeypatch.setattr("ptune_scale.trackers.jsonl.JSONL", absent)
    monkeypatch.setitem(FORMATS._where, "another", "npy.NPY")
    assert doctor.main([]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "another" in lines
    assert "jsonl: needs no_such_library: pip install no_such_library" in lines


def test_a_library_that_cannot_be_imported_is_told(capsys, monkeypatch) -> None:
    monkeypatch.setitem(doctor._METHODS, "tune", "ptune_scale.no_such_module")
    assert doctor.main([]) == 2
    text = capsys.readouterr().out
    assert "methods          cannot be told: ModuleNotFoundError" in text
    assert "not in order: methods" in text


def test_tested_versions_are_those_that_are_pinned() -> None:
    assert doctor.tested_versions()["transformers"].startswith("5.")


def test_a_package_that_is_not_installed_itself_is_one_line(capsys, monkeypatch) -> None:
    def absent(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert doctor.main([]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "ptune_scale itself is not installed: pip install" in line
