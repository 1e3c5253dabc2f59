"""Print the matrix, measure its slow columns, write it into README.md and docs/matrix.md."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.matrix.rows import QUICK, rows
from surform.bench.measure import save

ROOT = Path(__file__).parents[2]
KEPT = RESULTS / "matrix.json"
BEGIN, END = "<!-- matrix: python -m benchmarks.matrix --write -->", "<!-- end of the matrix -->"
SLOW = ("bf16", "one graph", "torch.export", "DDP", "CUDA")
GAINS = ("against literal", "against peer")


def main() -> int:
    """Exit code 1 when a golden case fails, or with --check when the pages lack what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrix")
    parser.add_argument("--slow", action="store_true", help="measure the slow columns, too")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="with --slow: these alone")
    parser.add_argument("--write", action="store_true", help="into README.md and docs/matrix.md")
    parser.add_argument("--check", action="store_true", help="whether they hold what is found")
    args = parser.parse_args()
    if args.slow:
        from benchmarks.matrix.slow import measure

        measured = measure(args.only)
        save(KEPT, _merged(measured) if args.only else measured)
    found = [row | _kept(row["model"]) for row in rows()]
    pages = {
        ROOT / "README.md": _table(found, ("golden cases", "pretrained", *SLOW[:4], GAINS[0])),
        ROOT / "docs" / "matrix.md": _table(found, (*QUICK, *SLOW, *GAINS)),
    }
    sys.stdout.write(list(pages.values())[-1])
    stale = []
    for path, table in pages.items():
        text = path.read_text(encoding="utf-8")
        written = between(text, table)
        if args.write:
            path.write_text(written, encoding="utf-8")
        elif written != text:
            stale.append(path.name)
    failed = [row["model"] for row in found if fails(row["golden cases"])]
    for name in failed:
        sys.stderr.write(f"golden cases fail: {name}\n")
    if args.check and stale:
        sys.stderr.write(f"{', '.join(stale)} differ: run python -m benchmarks.matrix --write\n")
    return 1 if failed or (args.check and stale) else 0


def _rows() -> list[dict[str, str]]:
    return json.loads(KEPT.read_text(encoding="utf-8"))["rows"] if KEPT.is_file() else []


def _merged(measured: list[dict[str, str]]) -> list[dict[str, str]]:
    """What was just measured, and of other models what was kept."""
    rows = {row["model"]: row for row in (*_rows(), *measured)}
    return [rows[name] for name in sorted(rows)]


def _kept(name: str) -> dict[str, str]:
    measured = next((row for row in _rows() if row["model"] == name), {})
    return {column: measured.get(column, "not measured") for column in SLOW}


def fails(cell: str) -> bool:
    passed, _, count = cell.partition(" of ")
    return count.isdigit() and passed != count


def _table(found: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    lines = [f"| model | {' | '.join(columns)} |", "|" + " --- |" * (len(columns) + 1)]
    for row in found:
        cells = (row[column].replace("|", "/") for column in columns)
        lines.append(f"| `{row['model']}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def between(text: str, table: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the page lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


if __name__ == "__main__":
    raise SystemExit(main())
