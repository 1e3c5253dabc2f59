"""A set of keypoints as data: names, skeleton, which are mirror images, how exactly they are known.

One set belongs to each data set of poses, and to each head of a network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from surform.data.description_keys import check_keys

__all__ = ["KeypointSet", "set_of_category"]

# Half the width of the Gaussian that OKS allows where nothing is known of a joint: the mean of
# COCO's, so that own joints count neither as eyes nor as hips.
UNKNOWN_SIGMA = 0.064
_SIDES = (("left", "right"), ("l", "r"))
_UPPER = ("nose", "eye", "ear", "head", "neck", "shoulder", "elbow", "wrist", "hand", "chin")


@dataclass(frozen=True)
class KeypointSet:
    """Joints by number, and what is known of each; plain values only.

    Args:
        name: of the set, such as "coco".
        joints: names, in the order of the numbers.
        skeleton: pairs of joints with a bone between them, for pictures.
        pairs: (left, right) joints, which swap in a mirror image.
        upper: joints of the upper body; half-body crops take these or the others. () has none.
        sigmas: half the widths of OKS' Gaussians, in square roots of a person's area.
        weights: what each joint counts in losses, where the recipe asks for such weights.
        categories: names in a COCO file whose annotations are meant; () takes all with keypoints.

    Raises:
        ValueError: numbers that are no joints, a joint in two pairs, sigmas that are not positive,
            or lists of another length.
    """

    name: str
    joints: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    pairs: tuple[tuple[int, int], ...]
    upper: tuple[int, ...]
    sigmas: tuple[float, ...]
    weights: tuple[float, ...]
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count, where = len(self.joints), f"the keypoint set {self.name!r}"
        if not count or len(set(self.joints)) < count:
            raise ValueError(f"{where} must name its joints, each by a name of its own")
        for what, numbers in (
            ("skeleton", [j for bone in self.skeleton for j in bone]),
            ("pairs", [j for pair in self.pairs for j in pair]),
            ("upper", list(self.upper)),
        ):
            wrong = [number for number in numbers if not 0 <= number < count]
            if wrong:
                raise ValueError(
                    f"{where} has {count} joints, numbered from 0, but {what} names {wrong[0]}"
                )
            if what != "skeleton" and len(set(numbers)) < len(numbers):
                raise ValueError(f"{where} names a joint twice in {what}")
        for what, values in (("sigmas", self.sigmas), ("weights", self.weights)):
            if len(values) != count:
                raise ValueError(f"{where} has {count} joints, but {len(values)} {what}")
            if not all(math.isfinite(value) and value > 0 for value in values):
                raise ValueError(f"{where} has {what} that are not positive numbers")

    def __len__(self) -> int:
        """The number of joints."""
        return len(self.joints)

    @property
    def mirror(self) -> tuple[int, ...]:
        """For each joint the one that takes its place in a mirror image."""
        order = list(range(len(self)))
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return tuple(order)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KeypointSet:
        """The inverse of `dataclasses.asdict`, also from JSON; ValueError names unknown keys."""
        needed = {item.name for item in fields(cls)} - {"categories"}
        check_keys(cls, values, needed, "a keypoint set")
        return cls(**{name: _tuples(value) for name, value in values.items()})


def set_of_category(category: Mapping[str, Any], where: str) -> KeypointSet:
    """The set that a category of a COCO file describes ("keypoints", "skeleton").

    Left and right are told from the names (left_eye, right_eye; l_eye, eye_r), the upper body by
    words such as shoulder and wrist; all joints are equally well known.

    Args:
        where: the file, for messages.

    Raises:
        ValueError: no keypoints, or a skeleton of other joints.
    """
    joints = category.get("keypoints")
    name = str(category.get("name", ""))
    if not isinstance(joints, list | tuple) or not _are_names(joints):
        raise ValueError(
            f"the category {name!r} of {where} does not name its keypoints: set keypoints to a "
            "published set, or add them to the file"
        )
    try:
        bones = tuple((int(a) - 1, int(b) - 1) for a, b in category.get("skeleton") or ())
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the category {name!r} of {where} has a skeleton that is no list of pairs of joints"
        ) from error
    try:
        return KeypointSet(
            name=name,
            joints=tuple(joints),
            skeleton=bones,  # counted from 1 in COCO's files
            pairs=mirrored_names(joints),
            upper=upper_names(joints),
            sigmas=(UNKNOWN_SIGMA,) * len(joints),
            weights=(1.0,) * len(joints),
            categories=(name,),
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _are_names(joints: Sequence[Any]) -> bool:
    return len(joints) > 0 and all(isinstance(joint, str) for joint in joints)


def mirrored_names(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(left, right) joints by their names."""
    place = {tuple(_words(joint)): number for number, joint in enumerate(joints)}
    pairs = []
    for words, number in place.items():
        for left, right in _SIDES:
            if left in words:
                other = tuple(right if word == left else word for word in words)
                if other in place:
                    pairs.append((number, place[other]))
    return tuple(pairs)


def upper_names(joints: Sequence[str]) -> tuple[int, ...]:
    """Joints of the upper body by their names; () where the names do not tell any from others."""
    found = tuple(
        number for number, joint in enumerate(joints) if any(w in joint.lower() for w in _UPPER)
    )
    return found if 0 < len(found) < len(joints) else ()


def _words(name: str) -> list[str]:
    return name.lower().replace("-", "_").replace(" ", "_").split("_")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list | tuple) else value
