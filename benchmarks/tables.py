"""Write the tables of docs/benchmarks.md from benchmarks/results/*.json.

python -m benchmarks.tables
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import RESULTS

__all__ = ["main", "tables", "with_tables"]

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- tables: python -m benchmarks.tables -->", "<!-- end of the tables -->"


def main() -> int:
    """Replace the marked section of the page."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), tables(RESULTS)), "utf-8")
    return 0


def with_tables(page: str, text: str) -> str:
    """The page with `text` between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def tables(folder: Path) -> str:
    """One section per file of results: where it was measured, and its rows."""
    return "\n".join(_section(path) for path in sorted(folder.glob("*.json")))


def _section(path: Path) -> str:
    found = json.loads(path.read_text(encoding="utf-8"))
    machine = found.get("machine", {})
    taken = ", ".join(f"{key} {value}" for key, value in machine.items())
    notes = {k: v for k, v in found.items() if k not in ("machine", "rows") and _plain(v)}
    notes_line = "".join(f" {key}: {value}." for key, value in notes.items())
    lines = [
        f"## {path.stem.replace('-', ' ').capitalize()}",
        "",
        f"Taken on: {taken}.{notes_line}",
    ]
    return "\n".join([*lines, "", *_table(found["rows"]), ""])


def _table(rows: list[dict[str, Any]]) -> list[str]:
    # what was measured in every single turn stays in the file
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [key for key in columns if all(_plain(row.get(key, "")) for row in rows)]
    head = [f"| {' | '.join(column.replace('_', ' ') for column in columns)} |"]
    rule = [f"|{' --- |' * len(columns)}"]
    body = [f"| {' | '.join(_cell(row.get(column, '')) for column in columns)} |" for row in rows]
    return head + rule + body


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) or value is None


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "/")


if __name__ == "__main__":
    raise SystemExit(main())
