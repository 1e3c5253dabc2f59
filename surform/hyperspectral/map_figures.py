"""What the report of a run on a scene shows: the scene, its division, the map, each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.hyperspectral.mapping import classify
from surform.reports.classes import class_sections
from surform.reports.look import bare, look
from surform.reports.page import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from surform.data.scenes_cube import Cube
    from surform.data.scenes_module import ScenesData
    from surform.hyperspectral.classifier import SceneClassifier

__all__ = ["map_figure", "report_sections"]

_MOST = 12_000  # pixels that the report classifies; of larger scenes every second, third, ...
_COLORS = (650.0, 550.0, 450.0)  # [nm]
_SPLITS = ("train", "validation", "test")
_GREY = "#e4e6ea"


def report_sections(
    model: SceneClassifier, data: ScenesData, profiles: Mapping[str, Any]
) -> list[Section]:
    """Sections of the report.

    Args:
        data: the scene, its labels and its division.
        profiles: what `ClassTask.profile_batch` gives, averaged over the validation split.
    """
    about = data.description()
    figure, step = _map(model, data)
    caption = "The scene, its labels, how its pixels are divided, and the map."
    caption += f" Every {step}. row and column." if step > 1 else ""
    section = Section("Map", figures={f"{caption} {about.optimism()}".strip(): figure})
    return [section, *class_sections(about.classes, profiles, "pixels")]


def _map(model: SceneClassifier, data: ScenesData) -> tuple[Figure, int]:
    rows, columns, _ = data.cube.shape
    step = max(1, int(np.ceil(np.sqrt(rows * columns / _MOST))))
    grid = np.stack(
        np.meshgrid(np.arange(0, rows, step), np.arange(0, columns, step), indexing="ij"), -1
    )
    found = np.zeros(grid.shape[:2], np.uint16)
    for line in range(len(grid)):  # a row of windows at once
        found[line] = classify(model, data.cube, grid[line])[0]
    parts = np.zeros(data.labels.shape, np.int64)
    for number, split in enumerate(_SPLITS, start=1):
        parts[tuple(data.pixels.get(split, np.zeros((0, 2), int)).T)] = number
    every = np.ix_(grid[:, 0, 0], grid[0, :, 1])
    names = data.description().classes
    truth, division = data.labels[every] + 1, parts[every]
    return map_figure(_picture(data.cube, every), truth, division, found, names), step


def map_figure(
    picture: np.ndarray, truth: np.ndarray, division: np.ndarray, found: np.ndarray, names: Any
) -> Figure:
    """The scene in colors, its labels, its division and the map beside each other.

    Args:
        picture: (rows, columns, 3), 0 to 1.
        truth, found: (rows, columns), classes from 1.
        division: (rows, columns): 1 train, 2 validation, 3 test.
        names: of the classes.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    colors = [_GREY, *_palette(len(names))]
    three = [_GREY, "#2f6db3", "#e0a11b", "#b8402f"]
    height = 3.3 * truth.shape[0] / truth.shape[1]  # of a panel a fourth as wide as the figure
    with look():
        figure = Figure(figsize=(13.5, min(height, 12) + 0.9), layout="constrained")
        panels = figure.subplots(1, 4)
        for axes in panels:
            bare(axes)
        panels[0].imshow(picture)
        for axes, values, shades in zip(
            panels[1:], (truth, division, found), (colors, three, colors), strict=True
        ):
            shown = ListedColormap(shades)
            axes.imshow(
                values, cmap=shown, vmin=-0.5, vmax=len(shades) - 0.5, interpolation="nearest"
            )
        wrong = (truth > 0) & (truth != found)
        right = 1 - wrong.sum() / max(1, (truth > 0).sum())
        titles = ("scene", "labels", "division", f"map, {right:.1%} right, training pixels too")
        for axes, title in zip(panels, titles, strict=True):
            axes.set_title(title, fontsize=10)
        keys = [
            Patch(color=color, label=name) for color, name in zip(colors[1:], names, strict=True)
        ]
        keys += [Patch(color=c, label=n) for c, n in zip(three[1:], _SPLITS, strict=True)]
        columns = min(len(keys), 8)
        figure.legend(
            handles=keys, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
        )
    return figure


def _picture(cube: Cube, every: Any) -> np.ndarray:
    """Red, green and blue, or three bands from the spectrum; its darkest and brightest cut off."""
    waves = np.array(cube.wavelengths)
    if len(waves):
        bands = [int(np.abs(waves - color).argmin()) for color in _COLORS]
    else:
        bands = [int(share * (cube.shape[2] - 1)) for share in (0.5, 0.25, 0.1)]
    found = np.stack(
        [cube.read(slice(r, r + 1), slice(0, cube.shape[1]), bands)[0] for r in every[0].ravel()]
    )[:, every[1].ravel()]
    low, high = np.nanpercentile(found, (2, 98), axis=(0, 1))
    return np.nan_to_num((found - low) / np.maximum(high - low, 1e-12), nan=1.0).clip(0, 1)


def _palette(count: int) -> list[Any]:
    """Colors that differ, as many as there are classes."""
    from matplotlib import colormaps

    if count <= 20:
        whole = [*range(0, 20, 2), *range(1, 20, 2)]
        return [colormaps["tab20"](place) for place in whole[:count]]
    return [colormaps["gist_ncar"](share) for share in np.linspace(0.05, 0.95, count)]
