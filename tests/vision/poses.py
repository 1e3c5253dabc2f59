"""Annotated and found poses of made-up images, and COCO's own tool on them."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from surform.data.pose_truth import PoseTruth
from surform.vision.found_poses import FoundPoses

SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000


def made(seed: int = 0, images: int = 12, joints: int = 17) -> tuple[FoundPoses, PoseTruth]:
    """Persons of all sizes, crowds and unlabelled ones, found well, badly, twice or not at all."""
    random = np.random.default_rng(seed)
    truth: dict[str, list[Any]] = {name: [] for name in ("id", "at", "flags", "area", "box")}
    found: dict[str, list[Any]] = {name: [] for name in ("id", "at", "score")}
    crowd = []
    for image in range(100, 100 + images):
        for _ in range(random.integers(0, 5)):
            size = random.choice([20.0, 60.0, 150.0, 300.0])
            corner = random.uniform(0, 400, 2)
            at = corner + random.uniform(0, size, (joints, 2))
            flags = random.choice([0, 1, 2], joints, p=[0.3, 0.2, 0.5])
            truth["id"].append(image)
            truth["at"].append(at)
            truth["flags"].append(flags * (random.random() > 0.15))
            truth["area"].append(size**2 * 0.6)
            truth["box"].append([*corner, size, size])
            crowd.append(random.random() < 0.1)
            for _ in range(random.choice([0, 1, 1, 2])):
                noise = random.choice([0.01, 0.04, 0.1, 0.4])
                found["id"].append(image)
                found["at"].append(at + random.normal(0, noise * size, at.shape))
                found["score"].append(round(random.random(), 2))
        for _ in range(random.integers(0, 3)):
            found["id"].append(image)
            found["at"].append(random.uniform(0, 500, (joints, 2)))
            found["score"].append(random.random())
    count = len(found["id"])
    flags = np.array(truth["flags"])
    poses = FoundPoses(
        np.array(found["id"]),
        np.array(found["at"]),
        random.random((count, joints)),
        np.array(found["score"]),
        random.uniform(1e3, 1e5, count),
        random.uniform(1, 99, (count, 4)),
        np.arange(count),
    )
    columns = [np.array(truth[name]) for name in ("id", "at")]
    shown = (flags > 0).sum(1)
    area, box = np.array(truth["area"]), np.array(truth["box"])
    return poses, PoseTruth(*columns, flags, area, box, np.array(crowd), shown)


def by_coco(tool: Any, found: FoundPoses, truth: PoseTruth, sigmas: np.ndarray) -> list[float]:
    """The ten numbers of a library's `COCOeval`, that of pycocotools for one."""
    import importlib

    library = importlib.import_module(tool.__module__.rpartition(".")[0] + ".coco")
    annotations = [
        {
            "id": row + 1,
            "image_id": int(truth.image_id[row]),
            "category_id": int(truth.category[row]),
            "keypoints": np.c_[truth.keypoints[row], truth.flags[row]].ravel().tolist(),
            "num_keypoints": int(truth.labelled[row]),
            "area": float(truth.area[row]),
            "bbox": truth.boxes[row].tolist(),
            "iscrowd": int(truth.crowd[row]),
        }
        for row in range(len(truth))
    ]
    images = sorted({*truth.image_id.tolist(), *found.image_id.tolist()})
    with contextlib.redirect_stdout(io.StringIO()):
        known = library.COCO()
        known.dataset = {
            "images": [{"id": i} for i in images],
            "annotations": annotations,
            "categories": [{"id": n, "name": f"kind {n}"} for n in range(1, 6)],
        }
        known.createIndex()
        rows = found.results()
        for row, pose in enumerate(rows):
            pose["category_id"] = int(found.category[row])
            pose["keypoints"] = (
                np.c_[found.keypoints[row], found.joint_scores[row]].ravel().tolist()
            )
        run = tool(known, known.loadRes(rows), "keypoints")
        run.params.kpt_oks_sigmas = sigmas
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats.tolist()
