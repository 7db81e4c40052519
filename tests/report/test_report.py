"""A report opens by itself: one file, valid, that loads nothing and runs nothing."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from ptune_scale.report import figures
from ptune_scale.report.page import Page, write_page
from ptune_scale.report.table import Table, with_interval
from ptune_scale.task.metrics import Outcome

_VOID = {"meta", "img", "br", "link", "hr", "input"}


class Read(HTMLParser):
    """What is open, what is loaded, and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "data")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def plots() -> list[figures.Plot]:
    bars = {"manual": {"A": (0.4, (0.3, 0.5)), "B": (0.1, None)}, "ptuning": {"A": (0.6, None)}}
    gains = {"A": (0.2, (0.1, 0.3)), "$B": (-0.1, (-0.3, 0.1))}
    training = {"losses": [3.0, 2.0, 1.5], "dev_curve": {"A": [[1, 0.5], [3, 0.6]], "B": []}}
    novelty = {"manual": {"seen": (0.5, (0.4, 0.6)), "unseen": (0.1, (0.0, 0.2))}}
    made = [
        figures.scores(bars, "scores", "Scores"),
        figures.gains(gains, "ptuning", "manual"),
        figures.curves(training, "ptuning"),
        figures.seen_and_unseen(novelty),
        figures.confusion([Outcome("yes", "no"), Outcome("no", "no")], "a/b", "ptuning"),
    ]
    return [plot for plot in made if plot is not None]


def test_everything_is_in_one_file_that_loads_nothing_and_runs_nothing(plots, tmp_path) -> None:
    table = Table(["task", "<score>"], [["A & B", "61.5 [52.0, 70.1]"]], "Scores")
    settings = {"model": {"model": "</td><script>alert(1)</script>", "task": ("a.toml",)}}
    write_page(Page("SuperGLUE", [table], ["a <b> note"], plots, settings), tmp_path)
    page = Read()
    page.feed((tmp_path / "report.html").read_text())
    page.close()
    assert not page.open and not {"script", "link", "iframe"} & set(page.tags)
    assert len(page.loads) == len(plots) == 5
    assert all(load.startswith("data:image/svg+xml;base64,") for load in page.loads)
    text = " ".join(page.text)
    for what in ("A & B", "<score>", "61.5 [52.0, 70.1]", "a <b> note", "a.toml", "</td><script>"):
        assert what in text
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    expected = {"scores", "gain_ptuning", "curves_ptuning", "seen", "confusion_a_b_ptuning"}
    assert names == {f"{name}.png" for name in expected}


def test_a_figure_that_would_say_nothing_is_not_drawn() -> None:
    assert figures.scores({}, "scores", "") is None
    assert figures.gains({"A": (0.1, None)}, "ptuning", "manual") is None
    assert figures.curves({"losses": [1.0]}, "ptuning") is None
    assert figures.seen_and_unseen({"manual": {"seen": (0.5, None)}}) is None
    assert figures.confusion([Outcome("a", "a")], "t", "m") is None
    assert figures.confusion([Outcome(str(i), "x") for i in range(99)], "t", "m") is None


def test_gains_are_sorted_and_confusions_counted(plots) -> None:
    gains, confusion = plots[1].figure.axes[0], plots[4].figure.axes[0]
    assert [label.get_text() for label in gains.get_yticklabels()] == [r"\$B", "A"]
    assert [text.get_text() for text in confusion.texts] == ["1", "0", "1", "0"]


def test_markdown_keeps_bars_inside_cells(tmp_path: Path) -> None:
    table = Table(["pattern"], [["a | b"]])
    assert table.markdown() == "| pattern |\n|---|\n| a \\| b |"


def test_a_value_is_shown_with_its_interval() -> None:
    assert with_interval(0.615, (0.52, 0.701)) == "61.5 [52.0, 70.1]"
    assert with_interval(0.1, (-0.02, 0.2), sign="+") == "+10.0 [-2.0, +20.0]"
    assert with_interval(3.25, None, scale=1) == "3.2"
