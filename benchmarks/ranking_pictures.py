"""The pictures of docs/recommenders.md, from a finished run of recommenders/quickstart.

surform fit --config recommenders/quickstart --out runs/clicks
python -m benchmarks.ranking_pictures runs/clicks
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import surform
from benchmarks.pictures import IMAGES
from surform.cli.run_data import data_of
from surform.recommenders.ranker import Ranker
from surform.recommenders.ranking_figures import attention_figure, calibration_figure
from surform.reports.images import png

__all__ = ["main"]

_ROWS = 4096


def main(run: str) -> None:
    model = surform.load_model(Path(run) / "model")
    assert isinstance(model, Ranker)
    assert model.description is not None
    profiles = json.loads((Path(run) / "summary.json").read_text())["profiles"]["validation"]
    tables = {
        label: np.asarray(profiles[f"calibration/{number}"])
        for number, label in enumerate(model.description.labels)
    }
    samples = data_of(run).samples("test")
    batch = samples[list(range(min(_ROWS, len(samples))))]
    pictures = {
        "ranking-calibration": calibration_figure(tables),
        "ranking-attention": attention_figure(model, batch),
    }
    for name, figure in pictures.items():
        path = IMAGES / f"{name}.png"
        path.write_bytes(png(figure, dpi=80))
        print(path)


if __name__ == "__main__":
    main(sys.argv[1])
