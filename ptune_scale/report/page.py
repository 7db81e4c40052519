"""``report.html``: results, plots and settings in one file that needs no network and no script."""

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ptune_scale.files import write_file, write_text
from ptune_scale.report.figures import Plot
from ptune_scale.report.table import Table

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         white-space: nowrap; }
td.setting { white-space: normal; overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; }
li { overflow-wrap: anywhere; }
img { height: auto; }
"""
_WIDEST_INCHES = 9
_NO_FILE = re.compile(r"[^\w.-]")


@dataclass(frozen=True)
class Page:
    """What a run came to.

    Attributes:
        notes: what has to be known, a line each, the first of them of the tables.
        settings: by section and flag.
    """

    title: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """The whole page."""
        title = html.escape(self.title)
        parts = [f"<h1>{title}</h1>", *(table.html() for table in self.tables)]
        parts += [f"<p>{html.escape(note)}</p>" for note in self.notes[:1]]
        parts += [_figure(plot) for plot in self.plots]
        if others := self.notes[1:]:
            lines = (f"<li>{html.escape(note)}</li>\n" for note in others)
            parts.append(f"<h2>Notes</h2>\n<ul>{''.join(lines)}</ul>")
        parts += ["<h2>Settings</h2>", *map(_settings, self.settings, self.settings.values())]
        if self.versions:
            parts.append(_settings("versions", self.versions))
        body = "\n".join(parts)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n"
            "</html>\n"
        )


def write_page(page: Page, directory: Path) -> None:
    """Write report.html, and its plots as PNG too.

    Raises:
        UserError: they cannot be written.
    """
    for plot in page.plots:
        path = directory / "plots" / f"{_NO_FILE.sub('_', plot.name)}.png"
        write_file(path, partial(plot.figure.savefig, dpi=120))
    write_text(directory / "report.html", page.html())


def _figure(plot: Plot) -> str:
    drawn = io.BytesIO()
    plot.figure.savefig(drawn, format="svg", metadata={"Date": None})
    data = base64.b64encode(drawn.getvalue()).decode()
    width, _ = plot.figure.get_size_inches()
    # A very wide one is scrolled, so that its letters can be read.
    limit = "none" if width > _WIDEST_INCHES else "100%"
    title = html.escape(plot.title)
    return (
        f'<figure><figcaption>{title}</figcaption><div class="wide">'
        f'<img alt="{title}" style="width: {96 * width:.0f}px; max-width: {limit}" '
        f'src="data:image/svg+xml;base64,{data}"></div></figure>'
    )


def _settings(section: str, values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        f'<td class="setting">{html.escape(_text(value))}</td></tr>\n'
        for name, value in values.items()
    )
    return f"<details><summary>{html.escape(section)}</summary><table>{rows}</table></details>"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
