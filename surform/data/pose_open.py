"""Open data sets of poses: files per split, images, joints, encodings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surform.data.faults import refuse_unreadable
from surform.data.pose_coco import read_poses
from surform.data.pose_keypoints import KeypointSet
from surform.data.pose_records import PoseFile
from surform.data.splits import SPLITS

__all__ = ["ANNOTATIONS", "ENCODINGS", "PoseSet", "holds_poses", "open_pose_sets"]

ANNOTATIONS = "annotations.json"  # in a folder that is given as a whole
# as in surform.vision.heatmap_targets, which lies above
ENCODINGS = ("msra", "msra_unbiased", "udp", "udp_combined", "megvii")
_KEYS = ("path", *SPLITS, "images", "keypoints", "encoding", "detections")


@dataclass(frozen=True)
class PoseSet:
    """One data set, of one head.

    Args:
        own: its joints.
        encoding: of its heatmaps.
        files: split -> annotations, or {"": annotations} that are still to be divided.
        detections: split -> a file of detected boxes.
    """

    own: KeypointSet
    encoding: str
    files: dict[str, PoseFile]
    detections: dict[str, str] = field(default_factory=dict)

    @property
    def aligned(self) -> bool:
        """Whether crops are cut as UDP does."""
        return self.encoding.startswith("udp")

    @property
    def name(self) -> str:
        """Its files, for messages."""
        return ", ".join(dict.fromkeys(file.name for file in self.files.values()))


def open_pose_sets(path: Any, defaults: Mapping[str, Any]) -> list[PoseSet]:
    """Read everything that `path` names.

    Args:
        path: an annotation file; a folder that holds annotations.json; {"train": file,
            "validation": file, ...}; or a list of such mappings, one for each head, which may have
            images, keypoints, encoding and detections of their own.
        defaults: images, keypoints, encoding and detections of those that name none.

    Raises:
        FileNotFoundError, ValueError: what is missing or wrong, and where.
    """
    several = isinstance(path, Sequence) and not isinstance(path, str)
    entries = list(path) if several else [path]
    if not entries:
        raise ValueError("data.path is an empty list: name at least one data set")
    sets = [_open(entry, defaults) for entry in entries]
    if len(sets) > 1 and any(own.encoding == "udp_combined" for own in sets):
        raise ValueError(
            "the encoding udp_combined is for a single data set: choose udp for several at once"
        )
    return sets


def holds_poses(path: str) -> bool:
    """Whether a path is a JSON file, or a folder with annotations of keypoints."""
    where = Path(path)
    return where.suffix == ".json" or (where / ANNOTATIONS).is_file()


def _open(entry: Any, defaults: Mapping[str, Any]) -> PoseSet:
    given = dict(entry) if isinstance(entry, Mapping) else {"path": entry}
    unknown = sorted(set(given) - set(_KEYS))
    if unknown:
        raise ValueError(
            f"unknown key {unknown[0]!r} of a data set of poses: choose {', '.join(_KEYS)}"
        )
    given = {**defaults, **given}
    named = {split: given[split] for split in SPLITS if given.get(split) is not None}
    if bool(named) == (given.get("path") is not None):
        raise ValueError(
            "a data set of poses has either a path or files of its own for train, validation and "
            "test"
        )
    if named and "train" not in named:
        raise ValueError(f"a data set of poses with {', '.join(named)} needs a train file, too")
    if given["encoding"] not in ENCODINGS:
        raise ValueError(f"encoding={given['encoding']!r}: choose {', '.join(ENCODINGS)}")
    sources = named or {"": given["path"]}
    files = {
        split: read_poses(
            _annotations(source), _per_split(given.get("images"), split), given["keypoints"]
        )
        for split, source in sources.items()
    }
    own = next(iter(files.values())).own
    for file in files.values():
        if file.own.joints != own.joints:
            raise ValueError(
                f"{file.name} has the joints {', '.join(file.own.joints[:6])}, ..., but "
                f"{next(iter(files.values())).name} has {', '.join(own.joints[:6])}, ..."
            )
    return PoseSet(own, given["encoding"], files, _detections(given.get("detections")))


def _annotations(source: Any) -> Path:
    path = Path(source)
    refuse_unreadable(str(path))
    if not path.is_dir():
        return path
    if not (path / ANNOTATIONS).is_file():
        raise FileNotFoundError(
            f"the folder {path} holds no {ANNOTATIONS}: name the annotation file, and the folder "
            "of its images as images"
        )
    return path / ANNOTATIONS


def _per_split(images: Any, split: str) -> Any:
    if not isinstance(images, Mapping):
        return images
    if split not in images:
        raise ValueError(
            f"images names folders for {', '.join(map(str, images))}, but none for "
            f"{split or 'data that are not divided'}"
        )
    return images[split]


def _detections(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return {"validation": str(given), "test": str(given)}
    wrong = sorted(set(given) - {"validation", "test"})
    if wrong:
        raise ValueError(
            f"detections are given for {wrong[0]}, but are for validation and test: training takes "
            "annotated boxes"
        )
    return {split: str(path) for split, path in given.items()}
