"""`surform info` on annotations of keypoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surform.data.pose_open import open_pose_sets

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["show_poses"]

_DEFAULTS = {"images": None, "keypoints": "auto", "encoding": "udp", "detections": None}


def show_poses(console: Console, path: str) -> None:
    """How many persons in how many images, which joints, how often each is labelled, and what
    training would leave out.
    """
    (found,) = open_pose_sets(path, _DEFAULTS)
    (file,) = found.files.values()
    own, persons = found.own, file.persons
    title = f"{path}: {len(persons):,} persons in {len(file.images):,} images"
    console.print(title, style="bold", soft_wrap=True)
    sizes = file.images.sizes
    low, high = (" x ".join(map(str, side)) for side in (sizes.min(0), sizes.max(0)))
    size = low if low == high else f"{low} to {high}"
    console.print(f"images of {size} pixels (height x width)", soft_wrap=True)
    shares = (persons.flags > 0).mean(0) if len(persons) else [0.0] * len(own)
    shown = [f"{joint} {share:.0%}" for joint, share in zip(own.joints, shares, strict=True)]
    more = f", ... ({len(shown)} joints)" if len(shown) > 40 else ""
    console.print(f"joints ({own.name}): {', '.join(shown[:40])}{more}", soft_wrap=True)
    for what, count in file.left_out.items():
        console.print(f"left out: {count:,} {what}", soft_wrap=True)
