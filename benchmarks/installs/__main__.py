"""Install the built wheel in empty environments, and use it there.

python -m benchmarks.installs [--python python3.12 ...] [--torch 2.10] [--extras all]

The core alone: import, help, list, every registered model, a shipped model, two steps of training.
Each extra alone lies on top of the core's environment, so that torch is installed once: its
libraries are installed and imported; with `all`, then all of them together. Writes
benchmarks/results/installs.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.bench.measure import keep_rows

__all__ = ["main"]

ROOT = Path(__file__).parents[2]
SMOKE = Path(__file__).with_name("smoke.py")


def extras() -> list[str]:
    """Those of the project, but for the developers' own."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [name for name in told["project"]["optional-dependencies"] if name not in ("dev",)]


def run(*words: str | Path, where: Path) -> str:
    """The output of a command; OSError with its last lines if it fails."""
    done = subprocess.run([str(word) for word in words], cwd=where, capture_output=True, text=True)
    if done.returncode:
        raise OSError(" | ".join((done.stderr or done.stdout).strip().splitlines()[-3:]))
    return done.stdout


def build(folder: Path) -> Path:
    """The wheel of this checkout."""
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, where=folder)
    return next(folder.glob("surform-*.whl"))


def environment(python: str, folder: Path, *wanted: str, below: Path | None = None) -> Path:
    """A new environment with these installed, over another one; gives its python."""
    run(python, "-m", "venv", folder, where=folder.parent)
    own = next(folder.glob("lib/python*/site-packages"))
    if below is not None:
        under = next(below.glob("lib/python*/site-packages"))
        (own / "below.pth").write_text(f"{under}\n")
    run(folder / "bin" / "pip", "install", "-q", *wanted, where=folder)
    return folder / "bin" / "python"


def measure(python: str, wheel: Path, torch: str | None, names: list[str]) -> list[dict[str, Any]]:
    """A row of the core, and one of each extra."""
    rows = []
    version = run(
        python, "-c", "import platform; print(platform.python_version())", where=wheel.parent
    )
    told = f"Python {version.strip()}, torch {torch or 'newest'}"
    with tempfile.TemporaryDirectory() as place:
        base = Path(place) / "core"
        pinned = [f"torch=={torch}.*"] if torch else []
        program = environment(python, base, *pinned, str(wheel))
        rows.append({"installed": f"core, {told}"} | tried(program, base))
        print(rows[-1], flush=True)
        together = [names] if len(names) > 1 else []
        for chosen in [[name] for name in names] + together:
            over = Path(place) / "-".join(chosen)
            label = chosen[0] if len(chosen) == 1 else f"these {len(chosen)} together"
            row: dict[str, Any] = {"installed": f"{label}, {told}"}
            try:
                given = [*pinned, f"{wheel}[{','.join(chosen)}]"]
                program = environment(python, over, *given, below=base)
                row |= tried(program, over, *chosen)
            except OSError as error:
                row["failed"] = str(error)
            rows.append(row)
            print(row, flush=True)
    return rows


def tried(program: Path, where: Path, *words: str) -> dict[str, Any]:
    """What `smoke.py` says in that environment, or why it failed."""
    try:
        return json.loads(run(program, SMOKE, *words, where=where).splitlines()[-1])
    except OSError as error:
        return {"failed": str(error)}


def main() -> int:
    """Measure, print, write; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=[sys.executable])
    parser.add_argument("--torch", nargs="+", default=[None], help="versions instead of the newest")
    parser.add_argument("--extras", nargs="*", default=[], choices=["all", *extras()])
    options = parser.parse_args()
    names = extras() if "all" in options.extras else options.extras
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        for python in options.python:
            for torch in options.torch:
                rows += measure(python, wheel, torch, names)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns)
    for row in rows:
        cells = (row.get(key, "") for key in columns)
        table.add_row(*(f"{x:.3g}" if isinstance(x, float) else str(x) for x in cells))
    Console(width=150).print(table)
    keep_rows(RESULTS / "installs.json", rows)
    return int(any("failed" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
