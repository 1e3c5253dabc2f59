"""`make bench`: every speed benchmark in turn; each prints its table and writes its JSON."""

from __future__ import annotations

import runpy
import sys

from benchmarks import RESULTS, tables

_MODULES = ("benchmarks.attention", "benchmarks.galerkin", "benchmarks.factformer")


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
    return code or tables.main()


if __name__ == "__main__":
    sys.exit(main())
