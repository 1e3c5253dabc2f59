"""Parquet, read batch by batch: a table of any length takes the memory of its float32 values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import is_url, parsing, refuse_unreadable
from surform.data.series_raw import Kind, RawTable
from surform.data.series_space import Space
from surform.data.series_times import looks_like_time

__all__ = ["ParquetTable", "arrow_kind", "arrow_values", "arrow_zones"]

_BATCH_VALUES = 1 << 18  # what fits into the cache while it is laid out by rows


class ParquetTable:
    """A Parquet file; only the chosen columns are read.

    Args:
        path: local file or URL.

    Raises:
        OSError: not a Parquet file, or one that was cut off.
        ImportError: pyarrow is missing.
    """

    def __init__(self, path: str) -> None:
        refuse_unreadable(path)
        self.name, self.defaults = path, {}
        file = self._open()
        try:
            self._schema = file.schema_arrow
            self._rows = file.metadata.num_rows
            groups = range(file.metadata.num_row_groups)
            self._require_rows(sum(file.metadata.row_group(group).num_rows for group in groups))
            self._metadata = {
                key.decode(): value.decode()
                for key, value in (self._schema.metadata or {}).items()
                if key.startswith(b"surform:")
            }
            if not self._rows:
                raise ValueError(f"{path} has columns but no rows")
            self._kinds: dict[str, Kind] = {f.name: arrow_kind(f.type) for f in self._schema}
            with parsing(path):
                self._look_at_texts(file)
        finally:
            file.close()

    def kinds(self) -> Mapping[str, Kind]:
        """The columns by the file's schema; text that holds times is found by its first values."""
        return self._kinds

    def read(self, numbers: Sequence[str], labels: Sequence[str], space: Space) -> RawTable:
        """Read the columns in batches; nothing but the result is held."""
        values = space.empty(self._rows, len(numbers))
        wanted = [*numbers, *labels]
        texts: dict[str, list[np.ndarray]] = {name: [] for name in labels}
        size = max(1024, _BATCH_VALUES // max(1, len(wanted)))
        file, row = self._open(), 0
        try:
            for batch in file.iter_batches(size, columns=wanted, use_threads=False):
                for number, name in enumerate(numbers):
                    values[row : row + len(batch), number] = arrow_values(batch.column(name))
                for name in labels:
                    texts[name].append(arrow_values(batch.column(name)))
                row += len(batch)
        except Exception as error:
            raise _unreadable(self.name, error) from error
        finally:
            file.close()
        self._require_rows(row)  # the rest of the values would be whatever memory held
        found = {name: np.concatenate(parts) for name, parts in texts.items()}
        attributes = {k.removeprefix("surform:"): v for k, v in self._metadata.items()}
        zones = arrow_zones(self._schema)
        return RawTable(
            self.name, tuple(numbers), values, found, attributes=attributes, zones=zones
        )

    def _require_rows(self, found: int) -> None:
        """ValueError unless the footer says so many, before memory is taken for what it says."""
        if found != self._rows:
            raise ValueError(
                f"{self.name} is damaged: it promises {self._rows} rows, but holds {found}"
            )

    def _open(self) -> Any:
        parquet = require_extra("pyarrow.parquet", "tables", f"reading {self.name}")
        source: Any = self.name
        if is_url(self.name):
            import fsspec

            system, path = fsspec.core.url_to_fs(self.name)
            try:
                source = system.open(path, "rb")
            except FileNotFoundError as error:
                raise FileNotFoundError(f"no data at {self.name}") from error
        try:
            # pages are read as they come: whole row groups may be larger than memory
            return parquet.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20)
        except Exception as error:
            raise _unreadable(self.name, error) from error

    def _look_at_texts(self, file: Any) -> None:
        texts = [name for name, kind in self._kinds.items() if kind == "text"]
        if not texts:
            return
        batch = next(file.iter_batches(200, columns=texts, use_threads=False))
        for name in texts:
            filled = [v for v in batch.column(name).to_pylist() if v is not None]
            if filled and 2 * sum(looks_like_time(str(v)) for v in filled) > len(filled):
                self._kinds[name] = "time"


def arrow_kind(data_type: Any) -> Kind:
    """What a column of an Arrow type holds."""
    types = require_extra("pyarrow", "tables", "reading Arrow tables").types
    if types.is_dictionary(data_type):
        return arrow_kind(data_type.value_type)
    if types.is_timestamp(data_type) or types.is_date(data_type):
        return "time"
    if types.is_null(data_type):
        return "empty"
    checks = (types.is_floating, types.is_integer, types.is_decimal, types.is_boolean)
    return "number" if any(check(data_type) for check in checks) else "text"


def arrow_zones(schema: Any) -> dict[str, str]:
    """The time zones of the columns that have one."""
    zones = {field.name: getattr(field.type, "tz", None) for field in schema}
    return {name: str(zone) for name, zone in zones.items() if zone is not None}


def arrow_values(column: Any) -> np.ndarray:
    """An Arrow column as float64 with NaN, as datetime64[us] in UTC, or as objects."""
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    kind = arrow_kind(column.type)
    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kind == "time":
        with suppress(arrow.ArrowInvalid):  # finer than microseconds: cut off
            column = column.cast(arrow.timestamp("us", tz=getattr(column.type, "tz", None)))
        return column.to_numpy(zero_copy_only=False).astype("datetime64[us]")
    if kind == "text":
        return np.array(column.to_pylist(), dtype=object)
    if arrow.types.is_boolean(column.type):
        column = column.cast(arrow.uint8())
    return column.cast(arrow.float64()).to_numpy(zero_copy_only=False)


def _unreadable(path: str, error: Exception) -> Exception:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "magic bytes" in text or "footer" in text.lower() or "too small" in text:
        return OSError(
            f"{path} is not a Parquet file, or is truncated: it lacks the end that all have"
        )
    return OSError(f"cannot read {path}: {text[:160]}")
