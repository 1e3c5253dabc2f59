"""What a new environment must do with an installed wheel; run by that environment's own python.

Prints one line of JSON. Only the package and the standard library are used.
"""

from __future__ import annotations

import importlib
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import packages_distributions, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def seconds(*words: str) -> float:
    """Wall-clock seconds of a command of the package; OSError with its last line if it fails."""
    start = time.perf_counter()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("surform")), *words], capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
        raise OSError(f"surform {' '.join(words)}: {said}")
    return time.perf_counter() - start


def of_extra(name: str) -> list[str]:
    """Top-level modules of what the extra asks for, all imported."""
    wanted = {
        line.split(";")[0].split(">=")[0].split("[")[0].strip().lower().replace("_", "-")
        for line in requires("surform") or []
        if f'extra == "{name}"' in line or f"extra == '{name}'" in line
    } - {"surform"}
    found, owning = [], set()
    for module, owners in packages_distributions().items():
        names = {owner.lower().replace("_", "-") for owner in owners} & wanted
        plain = module.isidentifier() and not module.startswith("_")
        if names and plain and find_spec(module):  # some declare modules that they do not have
            importlib.import_module(module)
            found.append(module)
            owning |= names
    if wanted - owning:
        raise ImportError(f"{name} has no module of {', '.join(sorted(wanted - owning))}")
    return sorted(found)


def core() -> dict[str, Any]:
    """Import, every registered model, the command, a prediction and two steps of training."""
    start = time.perf_counter()
    import surform

    row: dict[str, Any] = {"import_s": time.perf_counter() - start}
    row["help_s"] = seconds("--help")
    row["list_s"] = seconds("list")
    from surform.registry import BUILT_IN, import_object

    lacking = []
    for name, target in BUILT_IN["models"].items():
        try:
            import_object(target)
        except ImportError as error:  # a library of an extra, named in the sentence
            if "pip install" not in str(error):
                raise
            lacking.append(name)
    row["models"] = len(BUILT_IN["models"]) - len(lacking)
    surform.load_model("galerkin-burgers").eval()
    short = "--trainer.max_steps 2 --trainer.val_check_interval 2 --no_report --out run"
    row["fit_s"] = seconds("fit", "--config", "operators/quickstart", *short.split())
    return row


def main() -> None:
    """Measure what is asked for: nothing (the core), or the names of extras."""
    import torch

    about = {"python": platform.python_version(), "torch": torch.__version__}
    modules = sorted({module for name in sys.argv[1:] for module in of_extra(name)})
    found = {"modules": ", ".join(modules)} if len(sys.argv) > 1 else core()
    print(json.dumps(about | found))


if __name__ == "__main__":
    main()
