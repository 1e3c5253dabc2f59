"""A Parquet file of interactions, read row group by row group and never held whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from surform.data.extras import require_extra
from surform.data.faults import file_system, first_line, is_url
from surform.data.interactions_columns import family

__all__ = ["ParquetLog"]

_BUFFER = 1 << 18  # bytes that each column of a large row group reads ahead
_WHOLE = 1 << 26  # bytes of a row group whose columns are read at once
_SMALL = 1 << 17  # rows of a row group that is decoded at once


class ParquetLog:
    """Opened: its schema and row groups are known, its rows are read when they are asked for.

    Text in small row groups is read as numbers of its different values, as the file holds it; of
    large ones that would take more memory than it saves time.

    Raises:
        OSError: not a Parquet file, or one that is damaged.
        ImportError: pyarrow is missing.
    """

    def __init__(self, path: str) -> None:
        parquet = require_extra("pyarrow.parquet", "tables", f"reading {path}")
        self.name = path
        self._coded: list[str] = []
        try:
            with parquet.ParquetFile(self._file()) as file:
                self._metadata = file.metadata
                plain = file.schema_arrow
            groups = range(self._metadata.num_row_groups)
            self.pieces = [self._metadata.row_group(n).num_rows for n in groups]
            # with a buffer, Arrow makes room for whatever a page says of its size
            sizes = [self._metadata.row_group(n).total_byte_size for n in groups]
            self._buffer = _BUFFER if max(sizes, default=0) > _WHOLE else 0
            if max(self.pieces, default=0) <= _SMALL:
                self._coded = _text_columns(plain, self._metadata)
            with self._open() as file:
                self.schema = file.schema_arrow
        except Exception as error:
            raise _damaged(path, error) from error

    def read(self, piece: int, columns: Sequence[str], size: int) -> Iterator[Any]:
        """The record batches of a row group, of at most `size` rows each."""
        try:
            with self._open() as file:
                yield from file.iter_batches(size, row_groups=[piece], columns=list(columns))
        except OSError as error:
            raise _damaged(self.name, error) from error

    def _open(self) -> Any:
        parquet = require_extra("pyarrow.parquet", "tables", f"reading {self.name}")
        # pages of large row groups are read as they come
        return parquet.ParquetFile(
            self._file(), metadata=self._metadata, read_dictionary=self._coded,
            pre_buffer=False, buffer_size=self._buffer,
        )  # fmt: skip

    def _file(self) -> Any:
        if not is_url(self.name):
            return self.name
        system, path = file_system(self.name)
        return system.open(path, "rb")


def _text_columns(schema: Any, metadata: Any) -> list[str]:
    """Paths, as Parquet has them, of columns of texts and of lists of texts."""
    kinds = {field.name: field.type for field in schema}
    found = []
    for number in range(metadata.num_columns):
        path = metadata.schema.column(number).path
        kind = kinds.get(path.partition(".")[0])
        if kind is not None and family(kind) == "lists":
            kind = kind.value_type
        if kind is not None and family(kind) == "text":
            found.append(path)
    return found


def _damaged(path: str, error: Exception) -> OSError:
    return OSError(f"{path} is not a Parquet file, or is damaged: {first_line(error)[:160]}")
