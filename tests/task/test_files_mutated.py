"""Data files with damage: each is read, skipped over or refused in one line, and never misread."""

import codecs
import csv
import io
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptune_scale.errors import UserError
from ptune_scale.task.columns import Columns
from ptune_scale.task.files import count_rows, read_rows

ROWS = [
    {"id": i, "text": f'Row {i}, "quoted"\nÅ', "label": ["yes", "no"][i % 2], "deep": {"a": [i]}}
    for i in range(6)
]
FLAT = [{"id": str(row["id"]), "text": row["text"], "label": row["label"]} for row in ROWS]


def _csv(delimiter: str) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(FLAT[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(FLAT)
    return stream.getvalue().encode()


def _parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), stream, write_page_checksum=True)
    return stream.getvalue()


WHOLE = {
    "a.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "a.csv": _csv(","),
    "a.tsv": _csv("\t"),
    "a.parquet": _parquet(),
}

PIECES = st.one_of(
    st.binary(max_size=4),
    st.sampled_from(
        [b'"', b'""', b",", b"\t", b"\n", b"\r", b"\0", b"{", b"}", b"[" * 2000, b"]", b":"]
        + [b"\\ud800", b"\\u0000", b"NaN", b"1e999", b"9" * 5000, codecs.BOM_UTF8, b"\xff\xfe"]
        + [b"null", b'"text": 1, ', b'{"data": []}', b'"messages": [{"role": 3}], ']
    ),
)
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), PIECES), min_size=1, max_size=4)


def _damaged(content: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    for place, length, piece in damage:
        start = round(place * len(content))
        content = content[:start] + piece + content[start + length :]
    return content


@pytest.mark.parametrize("name", WHOLE)
@settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(damage=DAMAGE)
def test_damage_is_refused_in_one_line_or_read_as_it_stands(
    name: str, damage: list[tuple[float, int, bytes]], tmp_path: Path
) -> None:
    content = _damaged(WHOLE[name], damage)
    path = tmp_path / name
    path.write_bytes(content)
    dropped: Counter[str] = Counter()
    try:
        rows = list(read_rows(path, on_bad_record="skip", dropped=dropped))
        assert count_rows(path) == len(rows) + dropped["bad record"]
        for number, row in enumerate(rows):
            json.dumps(row.values, allow_nan=False).encode()
            json.dumps(row.values, ensure_ascii=False).encode()
            record = Columns().record(row, number)
            assert all(isinstance(text, str) for text in record.fields.values())
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    _check_nothing_is_misread(name, content, [row.values for row in rows], dropped)


def _check_nothing_is_misread(
    name: str, content: bytes, rows: list[dict], dropped: Counter[str]
) -> None:
    """Compare with what the formats' own libraries make of the same bytes."""
    if name == "a.jsonl":
        lines = [line.removeprefix(codecs.BOM_UTF8) for line in content.split(b"\n")]
        known = [json.loads(line) for line in lines if _is_json(line)]
        assert all(row in known for row in rows)
    elif name == "a.json" and not dropped and content.lstrip(codecs.BOM_UTF8 + b"\n ")[:1] == b"[":
        assert rows == json.loads(content.decode("utf-8-sig"))
    elif name in ("a.csv", "a.tsv"):
        text = content.decode("utf-8-sig", "replace")
        delimiter = "," if name == "a.csv" else "\t"
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        assert all(list(row.values()) in lines for row in rows)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
