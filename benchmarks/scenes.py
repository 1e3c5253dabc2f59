"""Networks against a support vector machine on the disjoint split of one scene.

The machine sees single spectra, standardised; its two numbers are chosen on the validation pixels.
Runs are those of `surform fit`: their best weights are read, and their division of the scene.

    surform fit --config hyperspectral/quickstart --out runs/pyformer
    surform fit --config hyperspectral/quickstart-cnn --out runs/cnn
    python -m benchmarks.scenes runs/pyformer runs/cnn
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table

import surform
from benchmarks import RESULTS
from surform.bench.measure import save
from surform.data.scenes_module import ScenesData
from surform.hyperspectral.agreement import FIGURES, agreement

__all__ = ["main"]

_GRID: Any = ((1.0, 10.0, 100.0, 1000.0), (0.001, 0.01))  # C and gamma


def scene_of(run: Path) -> ScenesData:
    """The data of a run, as its configuration has them."""
    given = yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]
    return ScenesData(**given | {"generate": None})


def of_network(run: Path, data: ScenesData) -> dict[str, Any]:
    """Figures of a run's best weights on the test pixels."""
    model, samples = surform.load_model(run), data.samples("test")
    found = []
    with torch.inference_mode():
        for start in range(0, len(samples), 256):
            batch = samples[range(start, min(start + 256, len(samples)))]
            found.append(model(batch.patches).argmax(1))
    summary = json.loads((run / "summary.json").read_text())
    row = {"network": type(model.net).__name__, "parameters": summary["parameters"]}
    row["validation_oa"] = round(summary["metrics"]["validation/oa/clean"], 4)
    return row | figures(samples.targets, torch.cat(found).numpy())


def of_machine(data: ScenesData) -> dict[str, Any]:
    """Figures of the support vector machine."""
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    whole = (slice(0, data.cube.shape[0]), slice(0, data.cube.shape[1]))
    spectra = data.cube.read(*whole, data.bands)
    x = {split: spectra[tuple(pixels.T)] for split, pixels in data.pixels.items()}
    y = {split: data.labels[tuple(pixels.T)] for split, pixels in data.pixels.items()}
    scale = StandardScaler().fit(x["train"])
    x = {split: scale.transform(values) for split, values in x.items()}
    best: tuple[float, Any] = (-1.0, None)
    for c, gamma in product(*_GRID):
        machine = SVC(C=c, gamma=gamma).fit(x["train"], y["train"])
        score = machine.score(x["validation"], y["validation"])
        best = max(best, (score, machine), key=lambda pair: pair[0])
    row = {"network": "SVM", "parameters": "", "validation_oa": round(best[0], 4)}
    return row | figures(y["test"], best[1].predict(x["test"]))


def figures(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Those of the table of true and predicted classes."""
    count = int(max(truth.max(), found.max())) + 1
    table = torch.zeros(count, count, dtype=torch.float64)
    table.index_put_((torch.as_tensor(truth), torch.as_tensor(found)), table.new_ones(()), True)
    return {name: round(agreement(table, name).item(), 4) for name in FIGURES}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/scenes.json."""
    parser = argparse.ArgumentParser(description="networks and an SVM on one scene")
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    data = scene_of(options.runs[0])
    rows = [of_network(run, data) for run in options.runs] + [of_machine(data)]
    table = Table(title=f"test pixels of {data.cube.name}, {data.division} division")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=100).print(table)
    save(RESULTS / "scenes.json", rows)


if __name__ == "__main__":
    main()
