"""Settings from flat names: layered, checked at once, refused in the user's words."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pytest

from ptune_scale.errors import UserError
from ptune_scale.flags import Sections, check_flags, flag, flags_of, names_in, unknown_name


@dataclass(frozen=True, kw_only=True)
class Size:
    """the size"""

    layers: int = flag(2, "layers", at_least=1, common=True)
    rate: float = flag(0.1, "a rate", positive=True)
    part: float = flag(0.0, "a share", share=True)
    least: int = flag(-1, "may be -1", at_least=-1)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """the shape"""

    preset: Literal["plain", "big"] = flag("plain", "a bundle")
    kind: Literal["round", "square"] = flag("round", "its kind")
    names: tuple[str, ...] = flag((), "some names")
    where: str = flag("", "a place")


@dataclass(frozen=True, kw_only=True)
class Thing(Sections):
    presets = {"plain": {}, "big": {"layers": 9, "rate": 2}}

    size: Size = Size()
    shape: Shape = Shape(kind="square")

    def contradictions(self) -> Iterator[str]:
        if self.shape.where == "nowhere":
            yield "--where nowhere is no place"


def test_a_flat_mapping_fills_the_sections():
    thing = Thing.from_flags({"layers": 3, "kind": "round", "names": ["a", "b"]})
    assert thing == Thing(size=Size(layers=3), shape=Shape(kind="round", names=("a", "b")))


def test_defaults_are_those_of_the_section_that_is_the_default():
    assert Thing.from_flags({}) == Thing()
    assert Thing.from_flags({"where": "here"}).shape.kind == "square"
    assert Thing.flags()["kind"].default == "square"
    assert flags_of(Shape)["kind"].default == "round"


def test_a_preset_lies_between_defaults_and_what_is_given():
    thing = Thing.from_flags({"preset": "big", "rate": 3.0})
    assert (thing.size.layers, thing.size.rate) == (9, 3.0)


def test_what_comes_out_goes_in_again():
    thing = Thing.from_flags({"preset": "big", "names": ["x"], "part": 0.5})
    assert Thing.from_flags(json.loads(json.dumps(thing.as_flags()))) == thing
    assert thing.as_dict()["size"]["layers"] == 9


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layrs": 3}, ["unknown --layrs", "did you mean --layers?"]),
        ({"qqq": 3}, ["unknown --qqq"]),
        ({"preset": "huge"}, ["--preset 'huge'", "plain, big"]),
        ({"layers": 2.0}, ["--layers must be a whole number", "2.0"]),
        ({"layers": True}, ["--layers must be a whole number", "True"]),
        ({"layers": "2"}, ["--layers must be a whole number"]),
        ({"rate": "fast"}, ["--rate must be a number"]),
        ({"where": 3}, ["--where must be a text"]),
        ({"kind": "oval"}, ["--kind must be one of round, square", "'oval'"]),
        ({"kind": ["round"]}, ["--kind must be one of round, square"]),
        ({"names": "a"}, ["--names must be a list of texts"]),
        ({"names": ["a", 1]}, ["--names must be a list of texts"]),
        ({"layers": 0, "rate": 0.0}, ["--layers must be 1 or more", "--rate must be a positive"]),
        ({"rate": float("nan")}, ["--rate must be a positive number"]),
        ({"rate": float("inf")}, ["--rate must be a positive number"]),
        ({"part": 1.0}, ["--part must be in [0, 1)"]),
        ({"least": -2}, ["--least must be -1, 0 or more"]),
        ({"where": "nowhere", "layers": 0}, ["--layers must be", "--where nowhere is no place"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given, words):
    with pytest.raises(UserError) as refused:
        Thing.from_flags(given)
    text = str(refused.value)
    assert all(word in text for word in words) and "\n" not in text


def test_whole_numbers_are_numbers():
    rate = Thing.from_flags({"rate": 2}).size.rate
    assert rate == 2.0 and type(rate) is float


def test_sections_by_themselves_can_be_checked():
    check_flags([Size()])
    with pytest.raises(UserError, match="--layers must be 1 or more, got 0; and more"):
        check_flags([Size(layers=0)], ["and more"])


def test_names_of_a_list_come_once_and_in_order():
    assert names_in(" b, a,,b ") == ("b", "a")


def test_a_name_that_is_like_none_is_only_unknown():
    assert unknown_name("zzz", ["layers"]) == "unknown zzz"


@pytest.mark.parametrize("command", ["lama", "superglue"])
def test_presets_name_flags_that_there_are_with_values_that_can_be(command):
    import importlib

    module = importlib.import_module(f"ptune_scale.{command}.config")
    config = getattr(module, f"{command.capitalize()}Config")
    for name in config.presets:
        assert config.from_flags({"preset": name}) is not None


@pytest.mark.parametrize(
    "flags",
    [
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"rate": 10**400},
        {"part": float("nan")},
        {"layers": 2**31},
        {"layers": 10**5000},
        {"least": -(10**30)},
        {"where": "a\0b"},
        {"where": "a\udcff"},
        {"names": ["a", "\0"]},
        {"preset": []},
        {"preset": {}},
        {"kind": []},
        {"names": "text"},
        {"layer": 2},
    ],
)
def test_what_no_flag_can_be_is_refused_in_one_line(flags: dict) -> None:
    with pytest.raises(UserError) as refused:
        Thing.from_flags(flags)
    line = str(refused.value)
    assert f"--{next(iter(flags))}" in line and "\n" not in line and len(line) < 300
