"""Ours against neuraloperator's FNO or GINO: the same data, the same loop, the same wall time.

    python -m benchmarks.accuracy darcy --minutes 12

Both train side by side, each on its own processor core, through `surform fit` with the recipe of
the task. The number of steps is set beforehand from a short calibration, so that each learning rate
schedule ends when the time does. Rows hold the parameters, steps and seconds, the error of the best
checkpoint on the whole test split (`surform test`), and the curve of validation errors. A run that
is complete under --out is kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks import RESULTS
from surform.bench.measure import save

__all__ = ["TASKS", "main"]


@dataclass(frozen=True)
class Task:
    """A recipe, and what to change in it to train the peer instead."""

    recipe: str
    peer: list[str]
    name: str = "fno"  # of the peer
    ours: list[str] = field(default_factory=list)
    calibration: list[str] = field(default_factory=list)  # so that a short run is no faster


TASKS = {
    "darcy": Task(
        "operators/galerkin-darcy",
        ["--model.net", "benchmarks.peers.SteadyFNO", "--model.net.modes", "[16,16]"]
        + ["--model.net.hidden", "32", "--model.optimizer.lr", "3e-3"],
    ),
    "kolmogorov": Task(
        "operators/factformer-kolmogorov",
        ["--model.net", "benchmarks.peers.WindowFNO", "--model.net.modes", "[24,24]"]
        + ["--model.net.input_steps", "1", "--model.net.max_steps", "1"]
        + ["--model.net.hidden", "32", "--model.optimizer.lr", "3e-3"],
        calibration=["--model.pushforward_after", "0"],
    ),
    "ns2d-c": Task(
        "operators/gnot-ns2d-c",
        ["--model.net", "benchmarks.point_peers.PointGINO", "--model.net.out_channels", "3"]
        + ["--model.net.parameters", "12", "--model.net.input_channels", "[2]"]
        + ["--model.net.side", "8", "--data.normalize_points", "none"],
        name="gino",
    ),
    "heat": Task(
        "operators/gnot-heat",
        ["--model.net", "benchmarks.point_peers.PointGINO", "--model.net.out_channels", "1"]
        + ["--model.net.parameters", "3", "--model.net.input_channels", "[3,3,2,2]"]
        + ["--model.net.side", "9", "--data.normalize_points", "none"],
        name="gino",
    ),
}
VALIDATIONS = 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--minutes", type=float, default=12, help="training time of each (12)")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    args = parser.parse_args()
    task = TASKS[args.task]
    runs = {"ours": task.ours, task.name: task.peer}
    folder = args.out / args.task
    left = {n: o for n, o in runs.items() if not (folder / n / "summary.json").exists()}
    steps = {
        n: _steps(task.recipe, [*o, *task.calibration], args.minutes, folder / f"{n}-try")
        for n, o in left.items()
    }
    started = {n: _fit(task.recipe, o, steps[n], folder / n, check=False) for n, o in left.items()}
    _finish(started, folder)
    _finish({n: _test(task.recipe, o, folder / n) for n, o in runs.items()}, folder)
    rows = [_row(name, folder / name) for name in runs]
    for row in rows:
        print(json.dumps(row))
    save(RESULTS / f"accuracy-{args.task}.json", rows, recipe=task.recipe, minutes=args.minutes)
    return 0


def _fit(recipe: str, options: list[str], steps: int, out: Path, check: bool) -> subprocess.Popen:
    line = ["fit", "--config", recipe, *options, "--out", str(out), "--trainer.max_epochs", "-1"]
    line += ["--trainer.max_steps", str(steps), "--trainer.check_val_every_n_epoch", "null"]
    line += ["--trainer.val_check_interval", str(max(1, steps // VALIDATIONS))]
    line += ["--trainer.limit_val_batches", "0"] if check else []
    return _surform(line, out)


def _test(recipe: str, options: list[str], run: Path) -> subprocess.Popen:
    line = ["test", "--config", recipe, *options, "--ckpt_path", "best", "--out", str(run)]
    return _surform(line, run.with_name(f"{run.name}-test"))


def _surform(line: list[str], log: Path) -> subprocess.Popen:
    """A command on one core, its words in `log`.log."""
    program = [sys.executable, "-c", "from surform.cli import main; raise SystemExit(main())"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{log}.log", "w") as words:
        return subprocess.Popen([*program, *line], stdout=words, stderr=words, env=environment)


def _finish(processes: dict[str, subprocess.Popen], folder: Path) -> None:
    failed = [name for name, process in processes.items() if process.wait()]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; see the logs in {folder}")


def _steps(recipe: str, options: list[str], minutes: float, out: Path) -> int:
    """Steps that take `minutes`: from the difference of two short runs, which start alike."""
    seconds = []
    for count in (5, 25):
        folder = Path(f"{out}-{count}")
        if _fit(recipe, options, count, folder, check=True).wait():
            raise SystemExit(f"the calibration failed: see {folder}.log")
        seconds.append(json.loads((folder / "summary.json").read_text())["seconds"])
    steps = int(60 * minutes / ((seconds[1] - seconds[0]) / 20))
    return max(VALIDATIONS, steps - steps % VALIDATIONS)  # the last validation sees the last step


def _row(name: str, run: Path) -> dict[str, Any]:
    summary, test = (json.loads((run / f"{n}.json").read_text()) for n in ("summary", "test"))
    steps = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"]
    return {
        "model": name,
        "parameters": summary["parameters"],
        "steps": steps,
        "seconds": round(summary["seconds"], 1),
        **{key: value for key, value in test.items() if "relative_l2" in key},
        "profiles": summary.get("profiles"),
        **_curves(run / "metrics.csv"),
    }


def _curves(table: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, validation error) of every validation, of all targets and of each that has its own."""
    with open(table, newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = {}
    for key in rows[0]:
        if key.startswith("validation/relative_l2") and key.endswith("/clean"):
            name = key.removeprefix("validation/relative_l2").removesuffix("/clean")
            points = [(int(row["step"]) + 1, float(row[key])) for row in rows if row[key]]
            found[f"curve{name}"] = points
    return found


if __name__ == "__main__":
    raise SystemExit(main())
