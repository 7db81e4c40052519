"""Tables of results, for a terminal, a Markdown file and a page."""

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns.

    Attributes:
        title: what it shows, or "".
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def markdown(self) -> str:
        """As Markdown, without its title."""
        lines = ("| " + " | ".join(map(_escaped, line)) + " |" for line in (self.head, *self.rows))
        head, *rows = lines
        return "\n".join([head, "|" + "---|" * len(self.head), *rows])

    def html(self) -> str:
        """As HTML, in a box that scrolls where it is too wide."""
        title = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.head)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n"
            for row in self.rows
        )
        return (
            f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead>\n'
            f"<tbody>{rows}</tbody></table></div>"
        )


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def with_interval(
    value: float, interval: Sequence[float] | None, *, scale: float = 100, sign: str = ""
) -> str:
    """A value and its confidence interval, in percent by default.

    Example:
        >>> with_interval(0.615, (0.52, 0.701))
        '61.5 [52.0, 70.1]'
    """
    text = f"{scale * value:{sign}.1f}"
    if interval is not None:
        low, high = (f"{scale * end:{sign}.1f}" for end in interval)
        text += f" [{low}, {high}]"
    return text
