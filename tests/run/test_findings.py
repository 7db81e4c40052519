"""What was found out once: believed in the same circumstances alone."""

from pathlib import Path

import pytest

from ptune_scale.run.findings import finding


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTUNE_SCALE_CACHE", str(tmp_path))
    return tmp_path / "kind"


def test_it_is_found_out_once_for_each_circumstances(cache: Path) -> None:
    assert finding("kind", ["a", (1, 2)], lambda: {"n": 1}) == {"n": 1}
    assert finding("kind", ["a", (1, 2)], lambda: {"n": 2}) == {"n": 1}
    assert finding("kind", ["a", (1, 3)], lambda: {"n": 3}) == {"n": 3}
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"found": 5, "about": "other"}'])
def test_a_file_that_is_damaged_or_of_something_else_is_not_believed(
    content: str, cache: Path
) -> None:
    finding("kind", "a", lambda: 1)
    [kept] = cache.iterdir()
    kept.write_text(content)
    assert finding("kind", "a", lambda: 2) == 2
    assert finding("kind", "a", lambda: 3) == 2


def test_nothing_is_kept_where_nothing_was_found(cache: Path) -> None:
    assert finding("kind", "a", lambda: None) is None
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PTUNE_SCALE_CACHE", str(tmp_path / "file"))
    assert finding("kind", "a", lambda: 1) == 1
