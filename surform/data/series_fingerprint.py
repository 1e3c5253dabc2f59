"""A short name for the content of a table of series."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from surform.data.series_table import SeriesTable

__all__ = ["series_fingerprint"]

_ROWS = 256


def series_fingerprint(table: SeriesTable) -> str:
    """sha256 over names, sizes, times and up to 256 evenly spread rows, hexadecimal.

    It costs the same for tables of any size, tells data sets apart and is no proof against
    tampering. Where the file lies, and its format, do not matter.
    """
    digest = hashlib.sha256()
    header = {
        "columns": table.columns,
        "static": table.roles.static,
        "series": [(span.id, span.rows) for span in table.spans[:_ROWS]],
        "rows": len(table.values),
        "step": table.step.text if table.step else "",
    }
    digest.update(json.dumps(header, sort_keys=True).encode())
    rows = np.unique(np.linspace(0, len(table.values) - 1, _ROWS).astype(np.int64))
    digest.update(np.ascontiguousarray(table.values[rows], dtype=np.float32).tobytes())
    digest.update(np.ascontiguousarray(table.static, dtype=np.float32).tobytes())
    if table.times is not None:
        digest.update(np.ascontiguousarray(table.times[rows]).tobytes())
    return digest.hexdigest()
