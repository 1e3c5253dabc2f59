"""Demonstrations of robots in all layouts, and jets of particles in theirs."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path

from benchmarks.fuzz.formats import Format
from surform.data.demonstrations_copy import copy_demonstrations
from surform.data.demonstrations_module import DemonstrationsData
from surform.data.jets_module import JetsData
from tests.data.demonstration_files import (
    write_aloha,
    write_demonstrations,
    write_libero,
    write_minari,
)
from tests.data.jet_files import hls4ml, jetclass, jetclass_arrays

__all__ = ["FORMATS"]


def _robomimic(folder: Path) -> Path:
    return write_demonstrations(folder / "demos.h5", 3, 4, camera=8)


def _minari(folder: Path) -> Path:
    return write_minari(folder / "demos.hdf5", 3, 4)


def _libero(folder: Path) -> Path:
    return write_libero(folder / "open_drawer_demo.hdf5", 3, 4)


def _aloha(folder: Path) -> Path:
    return write_aloha(folder / "demos", 3, 4, packed=True)


def _lerobot(folder: Path) -> Path:
    write_demonstrations(folder / "demos.h5", 3, 4, camera=8)
    found = copy_demonstrations(str(folder / "demos.h5"), folder / "demos")
    (folder / "demos.h5").unlink()
    return Path(found)


def _demonstrations(path: Path, cameras: tuple[str, ...] = ()) -> None:
    data = DemonstrationsData(str(path), cameras=list(cameras), image_size=8 if cameras else None,
                              split={"train": 2, "validation": 1})  # fmt: skip
    data.description()
    data.normalizers()
    for split in ("train", "validation"):
        samples = data.samples(split)
        samples[list(range(len(samples)))]


def _hls4ml(folder: Path) -> Path:
    return hls4ml(folder / "jets.h5", 60)


def _jetclass(folder: Path) -> Path:
    return jetclass(folder / "jets.h5", 60)


def _root(folder: Path) -> Path:
    awkward, uproot = import_module("awkward"), import_module("uproot")

    there = jetclass_arrays(60, 5)["part_px"] != 0
    with uproot.recreate(folder / "jets.root") as file:
        file["tree"] = {
            name: awkward.Array([own[t] for own, t in zip(values, there, strict=True)])
            if values.ndim == 2
            else values
            for name, values in jetclass_arrays(60, 5).items()
        }
    return folder / "jets.root"


def _jets(path: Path) -> None:
    data = JetsData(str(path), particles=5, split={"train": 50, "test": 10})
    data.description()
    data.normalizers()
    for split in ("train", "test"):
        samples = data.samples(split)
        samples[list(range(len(samples)))]


_SEEN = ("action", "actions", "position", "goal", "state", "front")
FORMATS = {
    "demos-robomimic": Format(_robomimic, partial(_demonstrations, cameras=("front",)), _SEEN),
    "demos-minari": Format(_minari, _demonstrations, _SEEN),
    "demos-libero": Format(_libero, _demonstrations, _SEEN),
    "demos-aloha": Format(_aloha, partial(_demonstrations, cameras=("top",)), (*_SEEN, "top")),
    "demos-lerobot": Format(_lerobot, partial(_demonstrations, cameras=("front",)), _SEEN),
    "jets-hls4ml": Format(_hls4ml, _jets),
    "jets-jetclass": Format(_jetclass, _jets),
    "jets-root": Format(_root, _jets, needs=("awkward", "uproot")),
}
