"""`make bench`: every speed benchmark in turn; each prints its table and writes its JSON.

Accuracy takes longer and is measured by `python -m benchmarks.accuracy`; its rows are shown.
"""

from __future__ import annotations

import json
import runpy
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS, tables

_MODULES = (
    "benchmarks.attention",
    "benchmarks.galerkin",
    "benchmarks.factformer",
    "benchmarks.ifactformer",
    "benchmarks.gnot",
    "benchmarks.informer",
    "benchmarks.pathformer",
    "benchmarks.itransformer",
    "benchmarks.card",
    "benchmarks.samformer",
    "benchmarks.vitpose",
    "benchmarks.equiformer_v2",
    "benchmarks.potentials",
    "benchmarks.forecasting",
    "benchmarks.cct",
    "benchmarks.audio",
    "benchmarks.jetformer",
    "benchmarks.robotics",
    "benchmarks.hiformer",
    "benchmarks.literal",
    "benchmarks.transformers_peers",
)


def main() -> int:
    from surform.cli import main as surform

    for module in _MODULES:
        print(f"\n{module}")
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as stop:
            if stop.code:
                return int(stop.code)
    print("\nmodels beside the literal attention and the FNO of neuraloperator")
    code = surform(["bench", "--out", str(RESULTS / "models.json")])
    _show_accuracy()
    return code or tables.main()


def _show_accuracy() -> None:
    table = Table("task", "model", "parameters", "steps", "minutes", "test error")
    table.title = "accuracy after the same wall time"
    for path in sorted(RESULTS.glob("accuracy-*.json")):
        for row in json.loads(path.read_text())["rows"]:
            errors = [f"{k}: {v:.3g}" for k, v in row.items() if "test" in k and "l2" in k]
            sizes = (row["parameters"], row["steps"], round(row["seconds"] / 60, 1))
            task = path.stem.removeprefix("accuracy-")
            table.add_row(task, row["model"], *map(str, sizes), ", ".join(errors))
    missing = "no accuracy rows yet: python -m benchmarks.accuracy darcy (or kolmogorov)"
    Console(width=180).print(table if table.row_count else missing)


if __name__ == "__main__":
    sys.exit(main())
