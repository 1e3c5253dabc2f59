"""What `surform info` shows of a table of time series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from surform.data.series_table import SeriesTable

__all__ = ["show_series"]

_MOST = 20


def show_series(console: Console, path: str) -> None:
    """Rows, times, series and columns; where the table has a fault, what it is."""
    from surform.data.series_sources import open_table

    kinds = dict(open_table(path).kinds())
    try:
        table = _read(path, kinds)
    except ValueError as error:
        console.print(f"{path}: a table of {len(kinds)} columns", style="bold", soft_wrap=True)
        for name, kind in kinds.items():
            console.print(f"{name}: {kind}")
        console.print(f"as series: {error}", soft_wrap=True)
        return
    rows = sum(span.rows for span in table.spans)
    console.print(f"{path}: {rows:,} rows{_times(table)}", style="bold", soft_wrap=True)
    if table.roles.id is not None:
        names = [span.id for span in table.spans]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        console.print(f"{len(names)} series by {table.roles.id!r}: {', '.join(names[:5])}{more}")
    pieces = sum(len(span.segments) for span in table.spans)
    if pieces > len(table.spans):
        console.print(
            f"missing rows or values leave {pieces} pieces without a gap, the longest of "
            f"{max(b - a for span in table.spans for a, b in span.segments):,} rows"
        )
    _show_columns(console, table)


def _read(path: str, kinds: Mapping[str, str]) -> SeriesTable:
    from surform.data.series_module import SeriesData

    texts = [name for name, kind in kinds.items() if kind == "text"]
    options: dict[str, Any] = {"id": texts[0]} if len(texts) == 1 else {}
    try:
        return SeriesData(path, 1, 1, gaps="split", **options).table
    except ValueError:
        if "time" in kinds.values():
            raise
        return SeriesData(path, 1, 1, gaps="split", step="", **options).table


def _times(table: SeriesTable) -> str:
    if table.times is None:
        return " without times"
    first, last = table.times.min(), table.times.max()
    if not table.dates:
        return f", {table.roles.time} {first:g} to {last:g}"
    begin, end = (str(t.astype("datetime64[s]")).replace("T", " ") for t in (first, last))
    return f", {begin} to {end}, step {table.step.text if table.step else 'unknown'}"


def _show_columns(console: Console, table: SeriesTable) -> None:
    import numpy as np
    from rich.table import Table

    shown = Table("column", "units", "missing", "mean", "deviation", "least", "most",
                  box=None, pad_edge=False)  # fmt: skip
    for number, name in enumerate(table.columns[:_MOST]):
        values = table.values[:, number].astype(np.float64)
        there = values[~np.isnan(values)]
        figures = (there.mean(), there.std(), there.min(), there.max()) if len(there) else ()
        missing = str(len(values) - len(there))
        unit = table.units.get(name, "")
        shown.add_row(name, unit, missing, *(f"{figure:.4g}" for figure in figures))
    console.print(shown)
    if len(table.columns) > _MOST:
        console.print(f"and {len(table.columns) - _MOST} more columns")
