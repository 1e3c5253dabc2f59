"""Pictures: folders, arrays, annotations of keypoints and detections, hyperspectral scenes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.fuzz.formats import Format
from surform.data.images_module import ImagesData
from surform.data.pose_module import PoseData
from surform.data.scenes_module import ScenesData
from tests.data.image_files import arrays, picture
from tests.data.pose_files import document, painted, places, write
from tests.data.scene_files import envi, labelled, scene

__all__ = ["FORMATS"]

_KINDS = ("png", "jpg", "bmp", "webp")


def _folder(folder: Path) -> Path:
    root = folder / "pets"
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for number, kind in enumerate(_KINDS):
            pixels = Image.fromarray(picture(number, label))
            pixels.save(root / name / f"{number}.{kind}")
    return root


def _npz(folder: Path) -> Path:
    images, labels = arrays(12)
    np.savez(folder / "pets.npz", images=images, labels=labels)
    return folder / "pets.npz"


def _images(path: Path) -> None:
    data = ImagesData(str(path), image_size=8, split={"train": 6, "test": 2})
    data.description()
    data.normalizers()
    for split in ("train", "test"):
        samples = data.samples(split)
        samples[list(range(len(samples)))]


def _coco(folder: Path) -> Path:
    return write(folder, document(3))


def _detections(folder: Path) -> Path:
    write(folder, document(3))
    found = [
        {"image_id": 10 + n, "category_id": 1, "bbox": [n, 2, 30, 40], "score": 0.2 * n}
        for n in range(3)
    ]
    (folder / "found.json").write_text(json.dumps(found))
    return folder / "found.json"


def _mpii(folder: Path) -> Path:
    persons = []
    for number in range(3):
        Image.fromarray(painted(16)).save(folder / f"{number}.png")
        persons.append({
            "image": f"{number}.png", "joints": (places(16) + 1).tolist(),
            "joints_vis": [1] * 15 + [0], "center": [61.0, 36.5], "scale": 0.3,
        })  # fmt: skip
    (folder / "mpii.json").write_text(json.dumps(persons))
    return folder / "mpii.json"


def _poses(path: Path) -> None:
    _use_poses(PoseData(str(path), split={"train": 2, "validation": 1}, image_size=[32, 32]))


def _detected(path: Path) -> None:
    own = str(path.with_name("annotations.json"))
    _use_poses(
        PoseData({"train": own, "validation": own}, detections=str(path), image_size=[32, 32])
    )


def _use_poses(data: PoseData) -> None:
    data.description()
    data.normalizers()
    for split in ("train", "validation"):
        samples = data.samples(split)
        samples[list(range(len(samples)))]


def _scene_file(folder: Path, kind: str) -> Path:
    cube, labels = scene(12, 10)
    return labelled(folder / f"scene.{kind}", cube, labels)


def _envi(folder: Path) -> Path:
    cube, labels = scene(12, 10)
    envi(folder / "labels", labels[..., None])
    return envi(folder / "scene", cube, wavelength="{400, 450, 500, 550, 600, 650, 700}")


def _tiff(folder: Path) -> Path:
    import rasterio

    cube, labels = scene(12, 10)
    for name, values in (("labels", labels[..., None]), ("scene", cube)):
        rows, columns, bands = values.shape
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", height=rows, width=columns, count=bands,
            dtype=values.dtype,
        ) as file:  # fmt: skip
            file.write(np.moveaxis(values, -1, 0))
    return folder / "scene.tif"


def _scenes(path: Path, labels: str | None = None) -> None:
    own: dict[str, Any] = {} if labels is None else {"labels": str(path.with_name(labels))}
    data = ScenesData(str(path), window=2, components=3, division="overlapping",
                      split={"train": 0.5, "validation": 0.2, "test": 0.3}, **own)  # fmt: skip
    data.description()
    data.normalizers()
    samples = data.samples("train")
    samples[list(range(len(samples)))]


_WORDS = ("cube", "gt", "labels")
FORMATS = {
    "images-folder": Format(_folder, _images),
    "images-npz": Format(_npz, _images, ("images", "labels")),
    "poses-coco": Format(_coco, _poses),
    "poses-detections": Format(_detections, _detected, ("annotations.json",)),
    "poses-mpii": Format(_mpii, _poses),
    "scenes-mat": Format(partial(_scene_file, kind="mat"), _scenes, _WORDS),
    "scenes-npz": Format(partial(_scene_file, kind="npz"), _scenes, _WORDS),
    "scenes-envi": Format(_envi, partial(_scenes, labels="labels.hdr"), ("labels.hdr",)),
    "scenes-tiff": Format(_tiff, partial(_scenes, labels="labels.tif"), ("labels.tif",)),
}
