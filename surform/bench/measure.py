"""How everything is timed: alternating runs in one process, in units of the machine's own GEMM.

A time on a shared machine says little; a ratio of two times taken in turns says much. Every row
therefore carries its time, the ratio to the competitor that ran in between, and its cost in units
of one 2048^3 float32 matrix product of the same run.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from surform.data.atomic import replacing

__all__ = [
    "GEMM_FLOPS",
    "added_memory",
    "alternating",
    "gemm",
    "keep_rows",
    "machine",
    "peak_memory",
    "save",
]

GEMM_SIZE = 2048
GEMM_FLOPS = 2 * GEMM_SIZE**3
_STATM = Path("/proc/self/statm")


def gemm() -> Callable[[], object]:
    """The unit of cost: one 2048^3 float32 matrix product, 17.18 GFLOP."""
    a = torch.randn(GEMM_SIZE, GEMM_SIZE)
    b = torch.randn(GEMM_SIZE, GEMM_SIZE)
    return lambda: a @ b


def alternating(
    runs: dict[str, Callable[[], object]],
    repeats: int = 7,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each run, taken in turns so that drift hits all of them alike.

    Runs of one thread can be measured by `clock=time.process_time`, which does not count what
    other programs take from a busy processor.
    """
    for _ in range(warmup):
        for run in runs.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(program: str) -> float:
    """Peak resident memory [MB] that `run()`, defined by `program`, adds in a fresh process.

    What the program imports and builds before that call is not counted.
    """
    watched = (
        f"{program}\nfrom surform.bench.measure import added_memory\nprint(added_memory(run))\n"
    )
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"the memory measurement failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.split()[-1])


def added_memory(run: Callable[[], object]) -> float:
    """Peak resident memory [MB] of this process during `run()` beyond what it held before."""
    base = peak = _resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, _resident())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        run()
    finally:
        done.set()
        thread.join()
    return (peak - base) / 1e6


def _resident() -> int:
    """Bytes; without Linux's /proc the most that this process has held so far."""
    import resource  # not on Windows

    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def machine() -> dict[str, Any]:
    """Where the numbers were taken."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Of surform's own repository, "-dirty" when its programs differ from it; None where it is
    installed without one."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git("describe", "--always", "--abbrev=40", "--exclude=*")
        # what was measured before this is written, too: results and pages do not count
        changed = _git("status", "--porcelain", "--", ":/*.py", ":/*.yaml")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(*words: str) -> str:
    line = ["git", "-C", str(Path(__file__).parent), *words]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def save(path: str | Path, rows: list[dict[str, Any]], **notes: Any) -> Path:
    """Write one benchmark's rows, with the machine they were taken on, as JSON."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        Path(partial).write_text(
            json.dumps({"machine": machine(), **notes, "rows": rows}, indent=1) + "\n"
        )
    return path


def keep_rows(path: str | Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows, named by their first entry, in place of those of the same names; others stay."""
    path = Path(path)
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    new = {next(iter(row.values())) for row in rows}
    return save(path, [row for row in old if next(iter(row.values())) not in new] + rows)
