"""Generated jets for tests, made once."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from surform.data.jets_module import JetsData
from surform.data.solvers.generate import generate
from surform.particles.jet_tagger import JetTagger
from surform.particles.jetformer import JetFormer

__all__ = ["jet_data", "jets_path", "tagger"]


@cache
def jets_path() -> str:
    """400 jets of at most 10 particles, in a folder that is removed at the end."""
    folder = _folder()
    return str(generate("jets", Path(folder.name) / "jets.zarr", 400, particles=10, turns=6))


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="surform-jets-")


def jet_data(**options: Any) -> JetsData:
    split = {"train": 0.5, "validation": 0.2, "test": 0.3}
    return JetsData(jets_path(), **({"split": split, "batch_size": 50} | options))


def tagger(**options: Any) -> JetTagger:
    """Untrained, with the statistics and the description of `jet_data()`."""
    torch.manual_seed(0)
    given = {"in_channels": 3, "dim": 8, "depth": 2, "heads": 2, "mask_padding": True} | options
    model, data = JetTagger(JetFormer(**given)), jet_data()
    model.fit_to(data.description(), *data.normalizers())
    return model.eval()
