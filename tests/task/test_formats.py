"""What each format of data files can have wrong, and what becomes of its values."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ptune_scale.errors import UserError
from ptune_scale.task.files import count_rows, read_rows

BAD_JSON = [
    (b'[{"a": "1"},\n {"a": }]', r"a\.json:2: not JSON"),
    (b'\n\n[{"a": }]', r"a\.json:3: not JSON"),
    (b'{"rows": []}', "list of objects"),
    (b'"text"', "list of objects"),
    (b"\xff\xfe[", "not UTF-8"),
    (b'[{"a": "1"}, 2]', r"a\.json row 2: bad record: not a JSON object"),
    (b'{"a": "1"}\n{"a": }', r"a\.json:2: bad record: not JSON"),
]


@pytest.mark.parametrize(("content", "message"), BAD_JSON)
def test_a_json_file_without_rows_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_rows("a.json", tmp_path))


BROKEN_CSV = [
    (b'a,b\n1,2\n3,"4\n5,6\n', r"a\.csv:3: broken quotes"),
    (b'a,b\n1,2\n"3"4,5\n', r"a\.csv:3: broken quotes"),
    (b'a,b\n"1\n2",3\n"4"5,6\n', r"a\.csv:4: broken quotes"),
    (b'a,"b\n1,2\n', r"a\.csv:1: broken quotes"),
    (b"a,b\n1,2\r3,4\n", r"a\.csv:2: broken quotes or line ends"),
    (b"a, a\n1,2\n", "more than one column is called 'a'"),
    ("a,b\n1,2\n".encode("utf-16"), r"a\.csv:1: not UTF-8"),
    ("a,b\n1,2\n".encode("utf-16-le"), r"a\.csv:1: not UTF-8"),
]


@pytest.mark.parametrize("choice", ["stop", "skip"])
@pytest.mark.parametrize(("content", "message"), BROKEN_CSV)
def test_a_csv_file_whose_rows_nobody_can_tell_apart_is_refused(
    content: bytes, message: str, choice: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_rows("a.csv", tmp_path, on_bad_record=choice))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2,3", "number of cells is 3, of columns 2"),
        (b"1", "number of cells is 1, of columns 2"),
        (b"1,\xe9", "not UTF-8"),
        (b"1,\0", "not UTF-8"),
    ],
)
def test_a_bad_csv_row_stops_or_is_counted(line: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n" + line + b"\n,\n3,4\n")
    with pytest.raises(UserError, match=rf"a\.csv:2: bad record: {reason}"):
        list(read_rows("a.csv", tmp_path))
    dropped: Counter[str] = Counter()
    rows = list(read_rows("a.csv", tmp_path, on_bad_record="skip", dropped=dropped))
    assert [row.values for row in rows] == [{"a": "3", "b": "4"}]
    assert dropped == {"bad record": 1}


def test_a_cell_may_be_as_long_as_a_book(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\n" + "word " * 100_000 + "\n")
    (row,) = read_rows("a.csv", tmp_path)
    assert len(row.values["text"]) == 500_000


def test_values_of_a_table_become_what_json_can_hold(tmp_path: Path) -> None:
    table = pa.table(
        {
            "number": pa.array([1.5, float("nan")]),
            "none": pa.array([None, "x"]),
            "day": pa.array([0, 1], pa.date32()),
            "bytes": pa.array([b"text", b"\xff"]),
            "deep": pa.array([{"a": [1]}, None]),
            "endless": pa.array([float("inf"), 0.0]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    rows = [row.values for row in read_rows("a.parquet", tmp_path)]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert rows[0] | {"number": 1.5, "day": "1970-01-01", "bytes": "text"} == rows[0]
    assert (rows[0]["endless"], rows[0]["deep"]) == ("inf", {"a": [1]})
    assert (rows[1]["number"], rows[1]["none"], rows[1]["bytes"]) == (None, "x", None)


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"] * 20}), path)
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[:-4], whole[:50], whole[:20] + whole[60:], b"x" * 100):
        path.write_bytes(content)
        for read in (lambda: list(read_rows(path)), lambda: count_rows(path)):
            try:
                read()
            except UserError as error:
                assert "a.parquet cannot be read as Parquet" in str(error)
                assert "\n" not in str(error)
            else:
                # The footer alone may be whole.
                assert content.endswith(b"PAR1") and len(content) > 8
    columns = [pa.array([1]), pa.array([2])]
    pq.write_table(pa.Table.from_arrays(columns, names=["a", "a"]), path)
    with pytest.raises(UserError, match="more than one column is called 'a'"):
        list(read_rows(path))
