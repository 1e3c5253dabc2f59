"""One self-contained HTML page: text, tables, pictures; no server, no network, no other files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surform.data.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Number", "Page", "Section", "format_value"]


@dataclass(frozen=True)
class Number:
    """A headline figure: what it is, its value, a remark; `good` colors it (None = neutral)."""

    label: str
    value: object
    note: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Section:
    """Part of a report: text, then pictures by caption, then tables by caption.

    Args:
        figures: {caption: matplotlib figure or the bytes of a PNG}.
        tables: {caption: rows as in `Page.table`}.
    """

    title: str
    text: str = ""
    figures: Mapping[str, Figure | bytes] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]] | Mapping[str, Any]] = field(
        default_factory=dict
    )


class Page:
    """A report that is built from top to bottom and written at once.

    Every method returns the page, so calls chain::

        Page("Kolmogorov flow").headline([Number("relative L2", 0.031)]).section("Fields")
            .figure(figure, "After 100 steps.").write("report.html")

    Text is plain: it is escaped, blank lines part paragraphs and backticks mark `code`.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._numbers: list[Number] = []
        self._sections: list[str] = []
        self._body: list[str] = []

    def headline(self, numbers: Sequence[Number]) -> Page:
        """Add figures to the summary box under the title."""
        self._numbers.extend(numbers)
        return self

    def section(self, title: str, text: str = "") -> Page:
        """Start a section; what is added next stands in it."""
        self._sections.append(title)
        self._body.append(f'<h2 id="s{len(self._sections)}">{escape(title)}</h2>')
        return self.text(text)

    def add(self, section: Section) -> Page:
        """Add a whole section, unless it is empty."""
        if not (section.text or section.figures or section.tables):
            return self
        self.section(section.title, section.text)
        for caption, figure in section.figures.items():
            self.figure(figure, caption)
        for caption, rows in section.tables.items():
            self.table(rows, caption)
        return self

    def text(self, text: str) -> Page:
        """Add paragraphs."""
        self._body += [f"<p>{_inline(p)}</p>" for p in re.split(r"\n\s*\n", text) if p.strip()]
        return self

    def table(
        self, rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], caption: str = ""
    ) -> Page:
        """Add a table: one row per mapping, or two columns from a single mapping."""
        if isinstance(rows, Mapping):
            body = "".join(_row([key, value], "td") for key, value in rows.items())
        else:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            cells = [[row.get(column, "") for column in columns] for row in rows]
            body = _row(columns, "th", like=cells[0] if cells else None)
            body += "".join(_row(row, "td") for row in cells)
        legend = f"<caption>{_inline(caption)}</caption>" if caption else ""
        return self.html(f'<div class="scroll"><table>{legend}{body}</table></div>')

    def figure(self, figure: Figure | bytes, caption: str = "") -> Page:
        """Add a picture: a matplotlib figure or the bytes of a PNG."""
        from surform.reports.images import data_url, png

        url = data_url(figure if isinstance(figure, bytes) else png(figure))
        alt = escape(caption or "figure", quote=True)
        legend = f"<figcaption>{_inline(caption)}</figcaption>" if caption else ""
        return self.html(f'<figure><img class="picture" src="{url}" alt="{alt}">{legend}</figure>')

    def code(self, text: str, title: str = "") -> Page:
        """Add preformatted text; with a title it is folded away."""
        block = f"<pre>{escape(text)}</pre>"
        if title:
            block = f"<details><summary>{escape(title)}</summary>{block}</details>"
        return self.html(block)

    def html(self, fragment: str) -> Page:
        """Add ready-made HTML as it is."""
        self._body.append(fragment)
        return self

    def render(self) -> str:
        """The whole page as HTML text."""
        style = files("surform.reports").joinpath("page.css").read_text(encoding="utf-8")
        return "\n".join(
            [
                '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{escape(self.title)}</title>\n<style>\n{style}</style></head><body>",
                f"<header><h1>{escape(self.title)}</h1>",
                f'<p class="subtitle">{_inline(self.subtitle)}</p>' if self.subtitle else "",
                _headline(self._numbers),
                _contents(self._sections),
                "</header>",
                *self._body,
                f"<footer>{escape(_signature())}</footer></body></html>\n",
            ]
        )

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page (under a temporary name first); returns its path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            Path(partial).write_text(self.render(), encoding="utf-8")
        return target


def format_value(value: object) -> str:
    """A cell as people read it: floats with four significant digits, NaN as a dash."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return "" if value is None else str(value)
    number = float(value)  # type: ignore[arg-type]
    if number != number:
        return "–"
    if number == int(number) and abs(number) < 1e15 if abs(number) != float("inf") else False:
        return f"{int(number)}"
    return f"{number:.4g}".replace("inf", "∞")


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _row(cells: Sequence[object], tag: str, like: Sequence[object] | None = None) -> str:
    numeric = [hasattr(cell, "__float__") for cell in (like or cells)]
    marks = [' class="figure"' if right else "" for right in numeric]
    inner = (
        f"<{tag}{mark}>{_inline(format_value(cell))}</{tag}>"
        for cell, mark in zip(cells, marks, strict=True)
    )
    return f"<tr>{''.join(inner)}</tr>"


def _headline(numbers: Sequence[Number]) -> str:
    boxes = []
    for number in numbers:
        state = {None: "", True: " good", False: " bad"}[number.good]
        note = f'<dd class="note">{_inline(number.note)}</dd>' if number.note else ""
        boxes.append(
            f'<div class="number{state}"><dt>{_inline(number.label)}</dt>'
            f'<dd class="value">{escape(format_value(number.value))}</dd>{note}</div>'
        )
    return f'<dl class="headline">{"".join(boxes)}</dl>' if boxes else ""


def _contents(sections: Sequence[str]) -> str:
    if len(sections) < 3:
        return ""
    links = (f'<a href="#s{i}">{escape(title)}</a>' for i, title in enumerate(sections, start=1))
    return f"<nav>{''.join(links)}</nav>"


def _signature() -> str:
    from surform import __version__

    return f"surform {__version__} · {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
