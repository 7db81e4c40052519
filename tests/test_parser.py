"""Help in two sizes, flags in full, and everything wrong in one line."""

import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from ptune_scale.errors import UserError
from ptune_scale.flags import flag
from ptune_scale.parser import Parser, called
from ptune_scale.run.alone import run_alone


@dataclass(frozen=True, kw_only=True)
class Size:
    """the size"""

    rare: int = flag(7, "a rare 100% one")
    layers: int = flag(2, "how many layers", common=True)


@dataclass(frozen=True, kw_only=True)
class Odd:
    """odd things"""

    kind: Literal["round", "square"] = flag("round", "its kind")
    names: tuple[str, ...] = flag((), "some names")


def parser() -> Parser:
    made = Parser("thing", "Makes things.", "  %(prog)s --layers 3")
    made.add_flags(Size)
    made.add_flags(Odd)
    return made


def shown(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(arguments)
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_short_help_has_the_common_flags_and_says_how_to_see_the_rest(capsys, flag):
    text = shown(capsys, flag)
    assert "--layers" in text and "the size" in text and "ptune thing --layers 3" in text
    assert "--rare" not in text and "odd things" not in text
    assert "3 more flags: --help all" in text


def test_full_help_has_all_flags_common_ones_first(capsys):
    text = shown(capsys, "--help", "all")
    assert text.index("--layers") < text.index("--rare") < text.index("--kind")
    assert "100% one (default: 7)" in text and "may be repeated" in text
    assert "more flags" not in text


def test_what_is_not_typed_is_not_there():
    assert vars(parser().parse_args(["--layers", "3"])) == {"layers": 3}
    assert vars(parser().parse_args(["--rare", "-1", "--names", "a", "--names", "b"])) == {
        "rare": -1,
        "names": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--layer", "3"], ["unknown --layer", "did you mean --layers?"]),
        (["--layers=3", "--zzz=1"], ["unknown --zzz"]),
        (["--layers", "many"], ["--layers", "invalid int value", "many"]),
        (["--kind", "oval"], ["--kind", "oval", "round", "square"]),
        (["--layers"], ["--layers", "expected one argument"]),
        (["stray"], ["unknown stray"]),
        (["--help", "some"], ["--help", "some"]),
    ],
)
def test_what_is_wrong_is_one_line(arguments, words):
    with pytest.raises(UserError) as refused:
        parser().parse_args(arguments)
    assert all(word in str(refused.value) for word in words)
    assert "--help" in str(refused.value) and "\n" not in str(refused.value)


def test_named_fields_alone_can_be_added_under_another_title():
    made = Parser("thing", "")
    made.add_flags(Size, "rare", title="one of them")
    assert vars(made.parse_args(["--rare", "1"])) == {"rare": 1}
    assert "one of them" in made.format_help() and "--layers" not in made.format_help(True)


def test_defaults_shown_are_those_of_an_instance():
    made = Parser("thing", "")
    made.add_flags(Size(layers=5))
    assert "(default: 5)" in made.format_help()


def test_a_command_is_called_as_the_user_called_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["launchers/lama.py"])
    assert called("lama") == "lama.py" and called("plan") == "ptune plan"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ptune"])
    assert called("lama") == "ptune lama"


def test_the_end_of_a_command_without_ranks_is_a_line_and_a_status(capsys):
    def refuse() -> int:
        raise UserError("not so")

    def interrupt() -> int:
        raise KeyboardInterrupt

    assert run_alone("thing", lambda: 0) == 0
    assert run_alone("thing", refuse) == 2
    assert run_alone("thing", interrupt) == 130
    assert capsys.readouterr().err == "ptune thing: error: not so\nptune thing: stopped by SIGINT\n"


@pytest.mark.parametrize("flag", ["--kind", "--layers", "--names", "--help"])
def test_dashes_are_no_value(flag: str) -> None:
    with pytest.raises(UserError, match=f"argument {flag}: '--' is no value"):
        parser().parse_args([f"{flag}=--"])
    with pytest.raises(UserError):
        parser().parse_known_args([f"{flag}=--"])


def test_long_values_do_not_make_long_messages(capsys) -> None:
    with pytest.raises(UserError) as refused:
        parser().parse_args(["--layers", "9" * 5000])
    assert len(str(refused.value)) < 500

    def fail() -> int:
        raise UserError("a\n" + "b" * 5000)

    assert run_alone("thing", fail) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) < 2100
