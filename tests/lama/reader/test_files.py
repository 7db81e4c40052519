"""LAMA directories: both layouts, and what happens to what cannot be read."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.lama.reader.facts import Fact
from ptune_scale.lama.reader.files import load_lama, read_vocab
from tests.campaigns.damage import JSON_VALUES

RELATIONS = [
    {"relation": "P36", "template": "The capital of [X] is [Y] .", "label": "capital"},
    {"relation": "P19", "template": "[X] was born in [Y] .", "label": "place of birth"},
]


def _write(path: Path, records: Iterable[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def _facts(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"sub_label": subject, "obj_label": answer} for subject, answer in pairs]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    _write(tmp_path / "relations.jsonl", RELATIONS)
    _write(tmp_path / "train/P36.jsonl", _facts(("Norway", "Oslo"), ("Italy", "Rome")))
    _write(tmp_path / "test/P36.jsonl", _facts(("France", "Paris")))
    return tmp_path


def test_the_plain_layout_is_read(plain: Path) -> None:
    (plain / "common_vocab_cased.txt").write_text("Oslo\nRome\n\nParis\n")
    facts = load_lama(plain)
    (relation,) = facts.relations  # P19 has no facts
    assert (relation.id, relation.label) == ("P36", "capital")
    assert relation.manual_prompt == "The capital of [X] is [Y] ."
    assert relation.train == (Fact("Norway", "Oslo"), Fact("Italy", "Rome"))
    assert relation.dev == ()
    assert relation.test == (Fact("France", "Paris"),)
    assert facts.common_vocab == ("Oslo", "Rome", "Paris")


def test_the_layout_of_the_reference_implementation_is_read(tmp_path: Path) -> None:
    _write(tmp_path / "relations.jsonl", RELATIONS)
    parts = {"train": ("Norway", "Oslo"), "dev": ("Italy", "Rome"), "test": ("France", "Paris")}
    for part, fact in parts.items():
        path = tmp_path / "fact-retrieval" / "original" / "P36" / f"{part}.jsonl"
        _write(path, _facts(fact))
    vocab = {"bert-base-cased": ["Oslo"], "gpt2-xl": ["ĠOslo", "ĠRome"]}
    (tmp_path / "29k-vocab.json").write_text(json.dumps(vocab))
    facts = load_lama(tmp_path)
    (relation,) = facts.relations
    assert relation.train == (Fact("Norway", "Oslo"),)
    assert relation.dev == (Fact("Italy", "Rome"),)
    assert relation.test == (Fact("France", "Paris"),)
    assert facts.common_vocab == ("Oslo", "Rome")


BAD_LINES = [
    (b'{"sub_label": "Spain", "obj', "not JSON"),
    (b'{"sub_label": "Spain"}', "'obj_label' is missing"),
    (b'{"sub_label": " ", "obj_label": "Madrid"}', "'sub_label' is empty"),
    (b'["Spain", "Madrid"]', "not a JSON object"),
    (b'{"sub_label": "\xff", "obj_label": "Madrid"}', "not UTF-8"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_record_stops_the_run_and_is_named_by_file_and_line(
    plain: Path, line: bytes, reason: str
) -> None:
    with (plain / "train/P36.jsonl").open("ab") as stream:
        stream.write(line + b"\n")
    with pytest.raises(UserError, match=rf"P36\.jsonl:3: bad record: {reason}"):
        load_lama(plain)


@pytest.mark.parametrize("line", [line for line, _ in BAD_LINES])
def test_skip_goes_on_without_bad_records_and_counts_them(plain: Path, line: bytes) -> None:
    with (plain / "train/P36.jsonl").open("ab") as stream:
        stream.write(line + b"\n" + json.dumps(_facts(("Spain", "Madrid"))[0]).encode())
    facts = load_lama(plain, "skip")
    assert facts.dropped == {"bad record": 1}
    assert facts.relations[0].train[-1] == Fact("Spain", "Madrid")


def test_blank_lines_and_a_byte_order_mark_do_not_matter(plain: Path) -> None:
    expected = load_lama(plain).relations
    for path in (plain / "relations.jsonl", plain / "train/P36.jsonl"):
        path.write_text("\ufeff\n" + path.read_text().replace("\n", "\n\n"))
    (plain / "common_vocab_cased.txt").write_text("\ufeffOslo\r\n\r\nRome\r\n")
    facts = load_lama(plain)
    assert facts.relations == expected
    assert facts.common_vocab == ("Oslo", "Rome")


@pytest.mark.parametrize(
    ("relation", "reason"),
    [
        ({"relation": "P1", "template": "[X] is"}, r"template needs \[X\] and \[Y\]"),
        ({"relation": "P1", "template": "[X] is a [Z] of [Y]"}, r"unknown placeholder \[Z\]"),
        ({"relation": "P36", "template": "[X] is [Y]"}, "relation 'P36' is there twice"),
    ],
)
def test_a_relation_that_cannot_be_asked_is_a_bad_record(plain, relation, reason) -> None:
    _write(plain / "relations.jsonl", [*RELATIONS, relation])
    with pytest.raises(UserError, match=rf"relations\.jsonl:3: .*{reason}"):
        load_lama(plain)
    assert load_lama(plain, "skip").dropped == {"bad record": 1}


@pytest.mark.parametrize("name", ["train/P36.jsonl", "train", "dev/P36.jsonl", "29k-vocab.json"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_link_that_leads_nowhere_is_not_simply_absent(plain: Path, name: str, target: str):
    link = plain / name
    if link.is_dir():
        link.rename(plain / "away")
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(link if target == "itself" else plain / "nowhere")
    with pytest.raises(UserError, match=f"{name} is a link that leads nowhere"):
        load_lama(plain)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_lama(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither train/ and test/ nor fact-retrieval"):
        load_lama(tmp_path)
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match=r"no relations\.jsonl"):
        load_lama(tmp_path)
    _write(tmp_path / "relations.jsonl", RELATIONS)
    with pytest.raises(UserError, match="no relation with facts"):
        load_lama(tmp_path)


def test_an_unknown_relation_is_refused_with_the_known_ones(plain: Path) -> None:
    facts = load_lama(plain)
    with pytest.raises(UserError, match=r"unknown relation 'P37' .*known: P36"):
        facts.select(["P37"])
    assert [r.id for r in facts.select(["Capital", "p36"]).relations] == ["P36"]
    with pytest.raises(UserError, match="--relations names none"):
        facts.select([])


def test_all_relations_of_data_without_test_facts_are_none(plain: Path) -> None:
    (plain / "test/P36.jsonl").unlink()
    facts = load_lama(plain)
    with pytest.raises(UserError, match="test facts of no relation; .*--relations.* P36"):
        facts.select(["all"])
    assert len(facts.select(["P36"]).relations) == 1


def test_a_candidate_file_that_is_no_word_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="candidate file"):
        read_vocab(tmp_path / "missing.txt")
    for name, text in (("empty.txt", "\n"), ("broken.json", "{"), ("none.json", "{}")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            read_vocab(tmp_path / name)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"label": ["capital"]}, r"relations.jsonl:2: .*'label' is \['capital'\], not a string"),
        ({"label": 3}, "relations.jsonl:2: .*'label' is 3, not a string"),
        ({"template": "[P] [X] [P] [Y]"}, "relations.jsonl:2: .*a manual prompt has no slots"),
        ({"template": "[X] of {country} is [Y]"}, "relations.jsonl:2: .*asks about country"),
        ({"template": "[X] [P]*" + "9" * 5000 + " [Y]"}, "relations.jsonl:2: .*repeated more"),
    ],
)
def test_a_relation_that_cannot_be_asked_is_named_by_line(
    described: dict, message: str, plain: Path
) -> None:
    _write(plain / "relations.jsonl", [RELATIONS[0], RELATIONS[1] | described])
    with pytest.raises(UserError, match=message):
        load_lama(plain)
    assert [r.id for r in load_lama(plain, "skip").relations] == ["P36"]


def test_a_relation_without_a_label_is_called_by_its_id(plain: Path) -> None:
    _write(plain / "relations.jsonl", [{**RELATIONS[0], "label": None}])
    assert load_lama(plain).relations[0].label == "P36"


@pytest.mark.parametrize("name", ["test", "fact-retrieval/original", "train"])
def test_a_file_in_the_place_of_a_directory_is_named(name: str, plain: Path) -> None:
    place = plain / name
    if place.is_dir():
        place.rename(plain / "away")
    place.parent.mkdir(exist_ok=True)
    place.write_text("")
    with pytest.raises(UserError, match=f"{name} is not a directory"):
        load_lama(plain)


@pytest.mark.parametrize("name", ["train/P36.jsonl", "dev/P36.jsonl", "common_vocab_cased.txt"])
def test_a_directory_in_the_place_of_a_file_is_named(name: str, plain: Path) -> None:
    (plain / name).unlink(missing_ok=True)
    (plain / name).mkdir(parents=True)
    with pytest.raises(UserError, match=f"{name} is not a file"):
        load_lama(plain)


def test_data_without_test_facts_or_relations_is_told_in_one_line(plain: Path) -> None:
    shutil.rmtree(plain / "test")
    with pytest.raises(UserError, match="has test facts of no relation; name relations"):
        load_lama(plain).select(["all"])
    assert load_lama(plain).select(["P36"]).relations[0].test == ()
    (plain / "relations.jsonl").write_text("")
    with pytest.raises(UserError, match="has no relation with facts"):
        load_lama(plain)


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_any_word_list_is_read_or_refused_in_one_line(value: str, tmp_path: Path) -> None:
    path = tmp_path / "29k-vocab.json"
    for text in (value, f'{{"gpt2-xl": {value}}}', f'{{"bert": [{value}]}}'):
        path.write_text(text)
        try:
            assert all(isinstance(word, str) and word for word in read_vocab(path))
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
