"""Peak memory and time of training on a long Parquet table, each measured in a fresh process.

    python -m benchmarks.series_memory                     # 2,000,000 rows of 50 columns
    python -m benchmarks.series_memory --rows 200000 --cache files

The table is written in row groups and never held whole. Training is what `surform fit` does: the
data module reads, checks and standardises, and an iTransformer takes optimiser steps on batches
from all over the table. `--json FILE` keeps the numbers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from surform.bench.measure import save

_TRAIN = """
import json, resource, sys, time
path, cache, steps, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
import torch
from surform.data.series_module import SeriesData
from surform.registry import create_model

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

torch.set_num_threads(1)
start = time.perf_counter()
data = SeriesData(path, 96, 96, batch_size=batch, cache=cache, marks=True)
data.setup("fit")
variates = data.normalizers()[0]
ready, read = peak(), time.perf_counter() - start
net = create_model("itransformer", lookback=96, horizon=96, dim=64, depth=2, heads=4)
optimizer = torch.optim.Adam(net.parameters())
losses = []
for number, batch in enumerate(data.train_dataloader()):
    if number == steps:
        break
    forecast = net(variates.normalize(batch.history))
    loss = (forecast - variates.normalize(batch.targets)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
gather = time.perf_counter()
for number, batch in enumerate(data.train_dataloader()):
    if number == steps:
        break
gather = (time.perf_counter() - gather) / steps
print(json.dumps({
    "windows": len(data.windows("train")), "seconds to read": read, "peak MiB after reading": ready,
    "peak MiB": peak(), "first loss": losses[0], "last loss": losses[-1],
    "milliseconds a batch": 1000 * gather,
}))
"""


def write_table(path: Path, rows: int, columns: int, group: int = 50_000) -> None:
    """Write sums of daily waves and noise, row group by row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"v{i}" for i in range(columns)]
    schema = pa.schema([("date", pa.timestamp("us")), *((n, pa.float64()) for n in names)])
    random = np.random.default_rng(0)
    phase = random.uniform(0, 2 * np.pi, columns)
    begin = np.datetime64("1990-01-01T00:00", "us")
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, group):
            number = np.arange(first, min(first + group, rows))
            values = np.sin(2 * np.pi * number[:, None] / 96 + phase)
            values += 0.1 * random.standard_normal(values.shape)
            times = begin + number * np.timedelta64(15, "m")
            arrays = [pa.array(times), *(pa.array(values[:, i]) for i in range(columns))]
            writer.write_table(pa.table(arrays, schema=schema))


def measure(path: Path, cache: str, steps: int, batch: int) -> dict[str, float]:
    """Train for some steps in a process of its own."""
    command = [sys.executable, "-c", _TRAIN, str(path), cache, str(steps), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    """Write the table, train, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--cache", default="auto", choices=("auto", "memory", "files"))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.parquet")
        write_table(path, args.rows, args.columns)
        size = path.stat().st_size / 2**20
        found = measure(path, args.cache, args.steps, args.batch_size)
    print(f"{args.rows:,} rows of {args.columns} columns, {size:.0f} MiB of Parquet")
    for name, value in found.items():
        print(f"{name:<24}{value:>12,.3f}")
    if args.json:
        settings = {name: value for name, value in vars(args).items() if name != "json"}
        save(args.json, [settings | found])


if __name__ == "__main__":
    main()
