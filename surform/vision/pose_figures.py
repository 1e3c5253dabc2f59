"""What the report of a pose network's run shows: crops with poses, AP, each joint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from surform.data.pose_batch import PoseBatch
from surform.data.pose_description import PoseDescription
from surform.data.pose_keypoints import KeypointSet
from surform.reports.look import COLORS, bare, look
from surform.reports.page import Section
from surform.vision.heatmap_decoding import Joints
from surform.vision.keypoint_precision import NAMES
from surform.vision.pose_drawing import draw_poses
from surform.vision.pose_locating import to_crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["joints_figure", "report_sections"]

_COLUMNS = 6
_SIDE = 320  # pixels that the longer side of a crop is enlarged to
_SURE = 0.2  # joints with a lower score are not drawn
_ROWS = 40  # of the table of joints
_COCO = ("AP", "AP at OKS 0.50", "AP at OKS 0.75", "AP, medium persons", "AP, large persons")
_COCO += ("AR", "AR at OKS 0.50", "AR at OKS 0.75", "AR, medium persons", "AR, large persons")


def report_sections(
    about: PoseDescription,
    batch: PoseBatch,
    joints: Joints,
    profiles: Mapping[str, Any],
    pck: Mapping[str, Any],
) -> list[Section]:
    """Sections of the report.

    Args:
        batch: some crops of the validation split.
        joints: what was found in them, in pixels of the image.
        profiles: rows of numbers by "name/number of the data set", -1 where nothing is known.
        pck: how PCK was measured: "threshold", "by".
    """
    sections = [_samples(about, batch, joints)]
    for number, keypoints in enumerate(about.sets):
        rows = {name.partition("/")[0]: np.asarray(value) for name, value in profiles.items()
                if name.endswith(f"/{number}")}  # fmt: skip
        of = f": {keypoints.name}" if len(about.sets) > 1 else ""
        if "precision" in rows:
            sections.append(_precision(rows, of))
        if "pck_of_joints" in rows:
            sections.append(_joints(keypoints, rows, pck, of))
    return sections


def _samples(about: PoseDescription, batch: PoseBatch, joints: Joints) -> Section:
    from matplotlib.figure import Figure

    pictures = [_picture(about, batch, joints, row) for row in range(len(batch))]
    rows = -(-len(pictures) // _COLUMNS)
    height, width = pictures[0][0].shape[:2]
    with look():
        size = (1.7 * _COLUMNS, (1.7 * height / width + 0.2) * rows)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for axes in panels:
            bare(axes)
        for axes, (picture, title) in zip(panels, pictures, strict=False):
            axes.imshow(picture)
            axes.set_title(title, fontsize=7)
    caption = (
        "Crops of the validation split. White: annotated joints; colored: found ones (blue the "
        "person's left, red its right) with a score above 0.2."
    )
    return Section("Predictions", figures={caption: figure})


def _picture(
    about: PoseDescription, batch: PoseBatch, joints: Joints, row: int
) -> tuple[np.ndarray, str]:
    number = int(batch.dataset[row])
    keypoints, count = about.sets[number], len(about.sets[number])
    aligned = about.encodings[number].startswith("udp")
    one = slice(row, row + 1)
    center, scale = batch.center[one].double().cpu(), batch.scale[one].double().cpu()
    xy = to_crop(
        joints.xy[one, :count].double().cpu(), center, scale, about.image_size, aligned=aligned
    )
    crop = batch.images[row].permute(1, 2, 0).cpu().numpy()
    factor = max(1, round(_SIDE / max(crop.shape[:2])))
    shape = (crop.shape[1] * factor, crop.shape[0] * factor)
    large = np.asarray(Image.fromarray(crop).resize(shape, Image.Resampling.BILINEAR))
    truth, known = batch.joints[one, :count].cpu().numpy(), batch.visible[one, :count].cpu() > 0
    known = known.numpy()
    large = draw_poses(large, (truth + 0.5) * factor - 0.5, known, keypoints, truth=True)
    sure = joints.score[one, :count].cpu().numpy() > _SURE
    large = draw_poses(large, (xy.numpy() + 0.5) * factor - 0.5, sure, keypoints)
    off = np.linalg.norm(xy.numpy() - truth, axis=-1)[known]
    return large, f"off by {off.mean():.1f} pixels" if len(off) else "not annotated"


def _precision(rows: Mapping[str, np.ndarray], of: str) -> Section:
    """A column for the whole pose, and one for each part where there are some."""
    start = "precision of "
    columns = {name.removeprefix(start): v for name, v in rows.items() if name.startswith(start)}
    columns = columns or {"value": rows["precision"]}
    assert all(len(values) == len(NAMES) for values in columns.values())
    table = [
        {"figure": figure} | {name: _shown(values[place]) for name, values in columns.items()}
        for place, figure in enumerate(_COCO)
    ]
    text = (
        "By object keypoint similarity (OKS), as COCO's tool computes it, after rescoring and "
        "suppression. Medium persons have 32² to 96² pixels, large ones more."
    )
    return Section(f"Precision and recall{of}", text, tables={"On the validation split.": table})


def _shown(value: float) -> float:
    return float(value) if value >= 0 else float("nan")


def _joints(
    keypoints: KeypointSet, rows: Mapping[str, np.ndarray], pck: Mapping[str, Any], of: str
) -> Section:
    right, error, counted = (
        rows[name] for name in ("pck_of_joints", "error_of_joints", "annotated_joints")
    )
    known = np.flatnonzero(right >= 0)
    order = known[np.argsort(right[known], kind="stable")][:_ROWS]
    table = [
        {
            "joint": keypoints.joints[joint],
            "annotated": int(counted[joint]),
            "PCK": f"{right[joint]:.1%}",
            "mean error [pixels]": f"{error[joint]:.1f}",
        }
        for joint in order.tolist()
    ]
    what = f"the {len(table)} worst" if len(table) < len(known) else "the worst first"
    measure = f"PCK: within {pck['threshold']:g} of the {_SPOKEN[pck['by']]}"
    caption = f"{measure}; on the validation split."
    figures = {caption: joints_figure(keypoints, right, order)} if len(order) else {}
    tables = {f"On the validation split, {what}.": table} if table else {}
    return Section(f"Joints{of}", figures=figures, tables=tables)


_SPOKEN = {"box": "box's longer side", "head": "head's length", "torso": "torso's length"}


def joints_figure(keypoints: KeypointSet, right: np.ndarray, order: np.ndarray) -> Figure:
    """Bars of the share of right joints, in the given order from above.

    Args:
        right: (K,), from 0 to 1.
        order: numbers of the joints to show.
    """
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(6, 0.5 + 0.19 * len(order)), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(order))[::-1]
        axes.barh(places, right[order], height=0.7, color=COLORS["prediction"])
        axes.set_yticks(places, [keypoints.joints[joint] for joint in order.tolist()], fontsize=7)
        axes.set(xlim=(0, 1), xlabel="PCK")
        axes.grid(axis="y", visible=False)
        axes.margins(y=0.01)
    return figure
