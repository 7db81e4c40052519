"""Data files of every format: the same rows from all, and what happens to what cannot be read."""

import codecs
import csv
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ptune_scale.errors import UserError
from ptune_scale.task.files import count_rows, digest_file, read_rows

ROWS = [{"text": 'It said "no", twice', "label": "bad"}, {"text": "日本\nOslo", "label": "good"}]


def _lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_csv(path: Path, delimiter: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["text", "label"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_text(_lines(ROWS)),
    "a.NDJSON": lambda path: path.write_text(_lines(ROWS)),
    "list.json": lambda path: path.write_text(json.dumps(ROWS, indent=2)),
    "data.json": lambda path: path.write_text(json.dumps({"version": 1, "data": ROWS})),
    "records.json": lambda path: path.write_text(json.dumps({"records": ROWS})),
    "lines.json": lambda path: path.write_text(_lines(ROWS)),
    "a.csv": lambda path: _write_csv(path, ","),
    "a.tsv": lambda path: _write_csv(path, "\t"),
    "a.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_all_formats_give_the_same_rows_and_count_them(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    assert [row.values for row in read_rows(name, tmp_path)] == ROWS
    assert [row.values for row in read_rows(tmp_path / name)] == ROWS
    assert count_rows(name, tmp_path) == 2


@pytest.mark.parametrize("name", [name for name in WRITERS if not name.endswith("parquet")])
def test_a_bom_blank_lines_and_line_ends_of_windows_do_not_matter(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    plain = path.read_bytes()
    windows = plain.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    path.write_bytes(codecs.BOM_UTF8 + b"\r\n  \r\n" + windows + b"\r\n\r\n")
    read = [row.values for row in read_rows(path)]
    assert [{k: v.replace("\r\n", "\n") for k, v in row.items()} for row in read] == ROWS


def test_rows_say_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": "1"}\n\n{"a": "2"}\n')
    (tmp_path / "a.csv").write_text('a\n"1\n2"\n\n3\n')
    (tmp_path / "a.json").write_text('[{"a": "1"}, {"a": "2"}]')
    places = {
        name: [row.source.removeprefix(f"{tmp_path}/") for row in read_rows(name, tmp_path)]
        for name in ("a.jsonl", "a.csv", "a.json")
    }
    assert places == {
        "a.jsonl": ["a.jsonl:1", "a.jsonl:3"],
        "a.csv": ["a.csv:2", "a.csv:5"],
        "a.json": ["a.json row 1", "a.json row 2"],
    }


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv"])
@pytest.mark.parametrize("content", [b"", b"\n \n", codecs.BOM_UTF8])
def test_an_empty_file_has_no_rows(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(read_rows(name, tmp_path)) == []
    assert count_rows(name, tmp_path) in (0, 1)


GOOD = b'{"text": "a"}'
BAD_LINES = [
    (b'{"text": "a', "not JSON"),
    (b'{"text": "a"} {', "not JSON"),
    (b'["a"]', "not a JSON object"),
    (b'{"text": "\xff"}', "not UTF-8"),
    (b'{"text": "\\ud800"}', "surrogate"),
    (b'{"\\udc00": "a"}', "surrogate"),
    (b'{"text": NaN}', "NaN is not JSON"),
    (b'{"text": -Infinity}', "-Infinity is not JSON"),
    (b'{"text": 1e999}', "too large"),
    (b'{"text": ' + b"1" * 5000 + b"}", "5000 digits"),
    (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    (b'{"text": "a", "text": "b"}', "'text' is there twice"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_line_stops_with_file_line_and_reason_or_is_counted(
    line: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([GOOD, line, GOOD]))
    with pytest.raises(UserError, match=rf"a\.jsonl:2: bad record: .*{reason}"):
        list(read_rows(path))
    dropped: Counter[str] = Counter()
    rows = list(read_rows(path, on_bad_record="skip", dropped=dropped))
    assert [row.source for row in rows] == [f"{path}:1", f"{path}:3"]
    assert dropped == {"bad record": 1}


def test_texts_that_must_be_there_are_missed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "x", "b": "y"}\n{"a": "x"}\n{"a": 1, "b": "y"}\n{"a": " ", "b": "y"}\n')
    with pytest.raises(UserError, match="a.jsonl:2: bad record: 'b' is missing or not a string"):
        list(read_rows(path, required=("a", "b")))
    dropped: Counter[str] = Counter()
    assert len(list(read_rows(path, required="ab", on_bad_record="skip", dropped=dropped))) == 1
    assert dropped["bad record"] == 3


def test_a_row_comes_before_the_next_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD + b"\nnot JSON")
    (tmp_path / "a.csv").write_bytes(b'text\na\n"open')
    for name in ("a.jsonl", "a.csv"):
        rows = read_rows(name, tmp_path)
        assert next(rows).values == {"text": "a"}
        with pytest.raises(UserError, match=f"{name}:[23]: "):
            next(rows)


def _loop(directory: Path) -> None:
    (directory / "a.jsonl").symlink_to("b.jsonl")
    (directory / "b.jsonl").symlink_to("a.jsonl")


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda d: None, "a.jsonl", "No such file"),
        (lambda d: (d / "a.jsonl").mkdir(), "a.jsonl", "is not a file"),
        (lambda d: os.mkfifo(d / "a.jsonl"), "a.jsonl", "is not a file"),
        (lambda d: (d / "a.jsonl").symlink_to("gone"), "a.jsonl", "leads nowhere"),
        (_loop, "a.jsonl", "leads nowhere"),
        (lambda d: (d / "a").write_text(""), "a/b.jsonl", "Not a directory"),
        (lambda d: None, "a" * 300 + ".jsonl", "too long"),
        (lambda d: None, "a\0.jsonl", "null byte"),
        (lambda d: None, "", "is not a file"),
    ],
)
def test_what_is_no_file_is_refused_in_one_line(
    make: Callable[[Path], None], name: str, message: str, tmp_path: Path
) -> None:
    make(tmp_path)
    for use in (lambda: list(read_rows(name, tmp_path)), lambda: count_rows(name, tmp_path)):
        with pytest.raises(UserError, match=message) as refusal:
            use()
        assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match=message):
        digest_file(name, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch(mode=0)
    with pytest.raises(UserError, match="Permission denied"):
        list(read_rows("a.jsonl", tmp_path))


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(UserError, match=r"unknown format '\.xlsx'; give \.jsonl, .*\.parquet"):
        list(read_rows("a.xlsx", tmp_path))


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "b.csv").write_text("a\n1\n")
    (tmp_path / "c.csv").write_text("a\n2\n")
    a, b, c = (digest_file(f"{name}.csv", tmp_path) for name in "abc")
    assert a == b != c
    assert digest_file("hf:a/b") != digest_file("hf:a/c")


def test_a_data_set_of_the_hub_is_read_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    # The library takes a directory of that name where there is one.
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner/name/train.jsonl").write_text('{"text": "a", "label": 1}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    (row,) = read_rows("hf:owner/name")
    assert (row.values, row.source) == ({"text": "a", "label": 1}, "hf:owner/name row 1")
    assert count_rows("hf:owner/name") is None
    for source in ("hf:owner/name@test", "hf:", "hf:nobody/nothing", "hf:a:b@c"):
        with pytest.raises(UserError, match=r"cannot be had|is no data set") as refusal:
            list(read_rows(source))
        assert "\n" not in str(refusal.value)
