"""Text files of interactions as Parquet, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from surform.data.atomic import refuse_folder, replacing
from surform.data.extras import require_extra
from surform.data.faults import refuse_unreadable
from surform.data.interactions_layouts import Layout, layout_of
from surform.data.interactions_log import BATCH_ROWS
from surform.data.interactions_opening import text_format
from surform.data.interactions_text import read_blocks
from surform.data.outputs import check_output

__all__ = ["text_to_parquet"]


def text_to_parquet(
    path: str | PathLike[str],
    out: str | PathLike[str],
    layout: str | None = None,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
) -> Path:
    """Write a text file of any size as Parquet, all or nothing; returns the path.

    Memory is that of a few blocks of 32 MiB. Row groups have the size that is read fastest.

    Args:
        path: CSV, TSV and the like, also .gz and .bz2.
        out: a file .parquet.
        layout: "criteo" or "avazu": names and types of the columns of these published logs.
        delimiter: between the fields; default: found.
        columns: names of the columns of a file that has no line of names.
        types: column -> "text", "whole" or "number"; those of others are told by the first block.

    Raises:
        ValueError: a file whose lines are no rows of one table, or a field that is not of its
            column's type.
    """
    parquet = require_extra("pyarrow.parquet", "tables", "writing Parquet")
    source, target = fspath(path), Path(out)
    if target.suffix != ".parquet":
        raise ValueError(f"{target} must end in .parquet")
    if layout == "movielens":
        raise ValueError("MovieLens has several files: turn each into Parquet without a layout")
    check_output(target, [source])
    refuse_folder(target, "out")
    refuse_unreadable(source)
    known = Layout({}) if layout is None else layout_of(layout, source)[1]
    blocks = read_blocks(source, text_format(known, delimiter, columns, types))
    with replacing(target) as partial:
        writer = None
        try:
            for table in _row_groups(blocks):
                writer = writer or parquet.ParquetWriter(partial, table.schema)
                writer.write_table(table, row_group_size=BATCH_ROWS)
            if writer is None:
                raise ValueError(f"{source} has columns but no rows")
        finally:
            if writer is not None:
                writer.close()
    return target


def _row_groups(blocks: Iterator[Any]) -> Iterator[Any]:
    """Tables of `BATCH_ROWS` rows, the last one of fewer."""
    arrow = require_extra("pyarrow", "tables", "writing Parquet")
    held: Any = None
    for block in blocks:
        table = arrow.Table.from_batches([block])
        held = table if held is None else arrow.concat_tables([held, table])
        while held.num_rows >= BATCH_ROWS:
            yield held.slice(0, BATCH_ROWS)
            held = held.slice(BATCH_ROWS)
    if held is not None and held.num_rows:
        yield held
