"""A long Parquet table takes the memory of its float32 values, and not that of what it decodes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

ROWS, COLUMNS = 400_000, 40  # 61 MiB as float32, 122 MiB as float64
SCRIPT = """
import resource, sys
import pyarrow.parquet
from surform.data.series_module import SeriesData

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

SeriesData(sys.argv[2], 96, 96, marks=True).normalizers()  # a small one: libraries, thread pools
before = peak()
data = SeriesData(sys.argv[1], 96, 96, marks=True)
data.setup("fit")
data.normalizers()
for number, batch in enumerate(data.train_dataloader()):
    if number == 10:
        break
print(peak() - before)
"""


def write_table(path: Path, rows: int) -> str:
    import pyarrow.parquet as pq

    names = [f"v{i}" for i in range(COLUMNS)]
    schema = pa.schema([("date", pa.timestamp("us")), *((name, pa.float64()) for name in names)])
    random = np.random.default_rng(0)
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, 50_000):
            number = np.arange(first, min(first + 50_000, rows))
            times = np.datetime64("1990-01-01", "us") + number * np.timedelta64(15, "m")
            columns = [pa.array(random.standard_normal(len(number))) for _ in names]
            writer.write_table(pa.table([pa.array(times), *columns], schema=schema))
    return str(path)


@pytest.mark.skipif(sys.platform == "darwin", reason="ru_maxrss counts bytes there")
def test_a_parquet_table_is_read_in_batches(tmp_path: Path) -> None:
    paths = [
        write_table(tmp_path / "large.parquet", ROWS),
        write_table(tmp_path / "a.parquet", 2000),
    ]
    command = [sys.executable, "-c", SCRIPT, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    extra = float(done.stdout)  # MiB
    # the values (61), Arrow's decoding of a row group (56), times, marks, positions (20), blocks;
    # a table that is decoded as a whole takes 131 more than its values instead of those 56
    assert extra < 200, extra
