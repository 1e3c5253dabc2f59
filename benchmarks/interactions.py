"""Rows per second and memory of reading a click log that is larger than memory.

    python -m benchmarks.interactions                      # 2,000,000 rows
    python -m benchmarks.interactions --rows 50000000      # as kept in benchmarks/results

A log like Criteo's (a label, 13 numbers, 26 categories of text with up to a million values) is
written to Parquet, row group by row group, and never held whole. A fresh process then opens it (one
pass builds vocabularies and statistics), and streams shuffled training batches; then it is read
once with as many workers as cores. `--json FILE` keeps the numbers, those of logs of other sizes
stay.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from surform.bench.measure import save

SIZES = (
    3, 4, 10, 12, 20, 24, 100, 300, 500, 600, 1_000, 2_000, 3_000, 5_000, 5_500, 8_000, 10_000,
    12_000, 15_000, 30_000, 60_000, 90_000, 150_000, 300_000, 700_000, 1_000_000,
)  # fmt: skip
_GROUP = 1 << 17  # rows

_STREAM = """
import json, os, sys, threading, time
path, batch, workers, slice_, cache = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
import torch
from surform.data.interactions_module import InteractionsData

def resident(process):  # MiB; pages that several processes share count once among them all
    try:
        with open(f"/proc/{process}/smaps_rollup") as rows:
            return sum(int(r.split()[1]) for r in rows if r.startswith("Pss:")) / 1024
    except (OSError, ValueError):
        return 0.0  # it has ended

def now():
    tasks = f"/proc/{os.getpid()}/task"
    children = []
    for task in os.listdir(tasks):
        try:
            with open(f"{tasks}/{task}/children") as file:
                children += file.read().split()
        except OSError:
            continue  # a thread that has ended
    return sum(map(resident, [os.getpid(), *children]))

highest = [0.0]

def watch():
    while True:
        highest[0] = max(highest[0], now())
        time.sleep(4)  # reading it takes a while

def peak():
    highest[0] = max(highest[0], now())
    return highest[0]

threading.Thread(target=watch, daemon=True).start()

def seconds():  # of all cores, which other programs do not lengthen much
    return sum(os.times()[:4])

torch.set_num_threads(1)
before = peak()
start, spent = time.perf_counter(), seconds()
data = InteractionsData(
    path, layout="criteo", min_count=2, cache=cache, batch_size=batch, workers=workers,
)
data.setup("fit")
opening, opened, cores = time.perf_counter() - start, peak(), seconds() - spent
loader = data.train_dataloader()
rows, start = 0, None
for number, found in enumerate(loader):
    if start is None and number == 8:  # the first pools are full
        start, spent, rows = time.perf_counter(), seconds(), 0
    rows += len(found)
    if rows >= slice_:
        break
took = time.perf_counter() - start
del loader  # the workers' seconds count once they have ended
streaming = seconds() - spent
print(json.dumps({
    "seconds to open": opening,
    "rows/s opened": data.log.rows / opening,
    "rows per second of a core, opened": data.log.rows / cores,
    "categories": sum(len(v) for v in data.description().vocabularies.values()),
    "rows streamed": rows,
    "rows/s streamed": rows / took,
    "rows per second of a core, streamed": rows / streaming,
    "MiB before": before,
    "peak MiB after opening": opened,
    "peak MiB": peak(),
}))
"""


def write_log(path: Path, rows: int) -> None:
    """Write a generated log, row group by row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = [f"I{n}" for n in range(1, 14)]
    categories = [f"C{n}" for n in range(1, 27)]
    names = [_names(size, seed) for seed, size in enumerate(SIZES)]
    fields = [("label", pa.int8()), *((n, pa.int32()) for n in numbers)]
    schema = pa.schema([*fields, *((n, pa.string()) for n in categories)])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, rows, _GROUP):
            random = np.random.default_rng([0, first])
            count = min(_GROUP, rows - first)
            arrays = [pa.array((random.random(count) < 0.25).astype(np.int8))]
            for number in range(13):
                values = random.exponential(3.0**number, count).astype(np.int32)
                arrays.append(pa.array(values, mask=random.random(count) < 0.1))
            for size, texts in zip(SIZES, names, strict=True):
                # of a column's categories the first sixteenth makes half of the rows
                share = np.square(np.square(random.random(count, dtype=np.float32)))
                drawn = np.minimum((size * share).astype(np.int32), size - 1)
                arrays.append(texts.take(pa.array(drawn)))
            writer.write_table(pa.table(arrays, schema=schema), row_group_size=_GROUP)


def _names(size: int, seed: int) -> Any:
    """So many different texts of 8 hexadecimal digits."""
    import pyarrow as pa

    # an odd factor permutes the numbers of 32 bits
    numbers = (np.arange(size, dtype=np.uint64) * 2654435761 + 97 * seed) % 2**32
    return pa.array([f"{number:08x}" for number in numbers.tolist()])


def measure(path: Path, batch: int, workers: int, rows: int, cache: str) -> dict[str, float]:
    """Open and stream in a process of its own."""
    command = [sys.executable, "-c", _STREAM, str(path), *map(str, (batch, workers, rows)), cache]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    """Write the log, stream it, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--slice", type=int, default=5_000_000, help="rows that are streamed")
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--workers", default="0,2")
    parser.add_argument("--cache", default="files", choices=("files", "memory"))
    parser.add_argument("--folder", help="where the log is written, and kept")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.folder or folder, f"log{args.rows}.parquet")
        start = time.perf_counter()
        if not path.exists():
            partial = path.with_suffix(".partial")
            write_log(partial, args.rows)
            os.replace(partial, path)
            print(f"written at {args.rows / (time.perf_counter() - start):,.0f} rows/s")
        size = path.stat().st_size / 2**20
        print(f"{args.rows:,} rows of 13 numbers and 26 categories, {size:,.0f} MiB of Parquet")
        found = []
        for workers in map(int, args.workers.split(",")):
            streamed = min(args.slice, int(0.7 * args.rows))
            row = measure(path, args.batch_size, workers, streamed, args.cache)
            found.append({"rows": args.rows, "MiB of Parquet": size, "workers": workers, **row})
            print(f"workers {workers}")
            for name, value in row.items():
                print(f"  {name:<36}{value:>14,.0f}")
    if args.json:
        kept = Path(args.json)
        others = json.loads(kept.read_text(encoding="utf-8"))["rows"] if kept.is_file() else []
        measured = {(row["rows"], row["workers"]) for row in found}
        others = [row for row in others if (row["rows"], row["workers"]) not in measured]
        save(kept, [*others, *found])


if __name__ == "__main__":
    main()
