"""Long texts: all of one length, the same ones in each epoch, from wherever they are."""

import json
from dataclasses import replace

import pytest

from ptune_scale.errors import UserError
from ptune_scale.experiments.bench.config import BenchDataConfig
from ptune_scale.experiments.bench.feed import Feed
from ptune_scale.experiments.bench.report import ratios
from ptune_scale.experiments.bench.texts import PLACES, long_texts, text_case


def texts_of(path, lines, *, tokens=20, count=2):
    path.write_text("\n".join(map(json.dumps, lines)))
    return long_texts(BenchDataConfig(texts=str(path), text_tokens=tokens, num_texts=count))


@pytest.mark.parametrize("place", PLACES)
def test_rows_have_the_length_asked_for_and_slots_in_their_place(place, tiny_case):
    texts = long_texts(replace(tiny_case.config.data, text_tokens=20, num_texts=6))
    feed = Feed(text_case(tiny_case, texts, place, 20))
    rows = feed.round(facts=6).rows
    assert {len(row.ids) for row in rows} == {20}
    assert len({row.ids for row in rows}) == 6
    first = {min(i for i, slot in enumerate(row.slots) if slot >= 0) for row in rows}
    last = {max(i for i, slot in enumerate(row.slots) if slot >= 0) for row in rows}
    begins, ends = {"in front": (0, 5), "around": (0, 19), "behind": (14, 19)}[place]
    assert (first, last) == ({begins}, {ends})
    # Each round is an epoch.
    assert {row.ids for row in feed.round(facts=6).rows} == {row.ids for row in rows}


def test_texts_of_a_file_are_taken_short_ones_together(tmp_path):
    lines = [{"passage": "Norway " * 30}, {"text": "Paris " * 5}, {"text": "Paris " * 30}]
    texts = texts_of(tmp_path / "texts.jsonl", lines)
    assert texts == [("Norway " * 30).strip(), ("Paris " * 35).strip()]
    with pytest.raises(UserError, match="2 long texts, and 3 needed"):
        texts_of(tmp_path / "texts.jsonl", lines, count=3)


def test_a_file_without_texts_is_refused(tmp_path):
    with pytest.raises(UserError, match="it has no passage or text"):
        texts_of(tmp_path / "texts.jsonl", [{"question": "?"}], count=1)


@pytest.mark.parametrize("is_cached", [False, True])
def test_the_ratio_of_cached_texts_is_that_behind_texts_with_the_cache_on(is_cached):
    def point(slots, median):
        return {
            "label": {"slots": slots},
            "ratios": {"peft_same_settings": {"median": median}},
            "text_cache": is_cached,
        }

    main = {"texts": [point("in front", 2.0), point("behind", 9.0)]}
    assert ratios(main)["text_cached"] == ({"median": 9.0} if is_cached else None)
