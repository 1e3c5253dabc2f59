"""Fields in motion: a slider over frames that lie inside the page, and a few lines of script."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
import xarray as xr

from surform.reports.images import data_url, indexed_png
from surform.reports.look import limits, map_name
from surform.reports.panels import moment, plane
from surform.reports.plots import label

__all__ = ["player"]

_SMALLEST, _LARGEST = 96, 160  # pixels of the longer side of one panel
_GAP = 4
_WHITE = 127  # the last palette entry; few levels pack well, and no eye tells more apart


def player(panels: Mapping[str, xr.DataArray], caption: str = "", frames: int = 72) -> str:
    """HTML that shows several fields ("time", a, b[, c]) side by side, moving, on one color scale.

    Args:
        panels: {title: field}; frames past the end of a shorter field stay white.
        caption: what one sees.
        frames: at most so many, spread evenly over the first panel's times.
    """
    first = next(iter(panels.values()))
    length = first.sizes["time"]
    chosen = sorted({round(i) for i in np.linspace(0, length - 1, min(frames, length)).tolist()})
    shown = {title: _values(field, chosen) for title, field in panels.items()}
    low, high = limits(*(values for field in shown.values() for values in field))
    palette = _palette(map_name(low, high))
    images = [
        _strip([_levels(field[i], low, high) for field in shown.values()], palette)
        for i in range(len(chosen))
    ]
    data = {
        "images": [base64.b64encode(image).decode("ascii") for image in images],
        "labels": [moment(first, index) for index in chosen],
    }
    return _markup(list(panels), images[0], data, _legend(palette, low, high, first), caption)


def _values(field: xr.DataArray, chosen: Sequence[int]) -> list[np.ndarray | None]:
    flat = plane(field)
    if flat.ndim != 3:
        raise ValueError(f"a player shows fields over time and 2 or 3 axes, not {field.dims}")
    known = flat.sizes["time"]
    return [flat.isel(time=i).values if i < known else None for i in chosen]


def _levels(values: np.ndarray | None, low: float, high: float) -> np.ndarray | None:
    """Palette entries below _WHITE, x to the right and y upwards, at a size worth looking at."""
    from PIL import Image  # matplotlib depends on it

    if values is None:
        return None
    picture = np.ascontiguousarray(values.T[::-1], dtype=np.float32)
    scale = np.clip(max(picture.shape), _SMALLEST, _LARGEST) / max(picture.shape)
    rows, columns = (max(round(n * scale), 1) for n in picture.shape)
    holes = ~np.isfinite(picture).all()
    smooth = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BICUBIC)
    level = (np.asarray(smooth) - low) / (high - low) * (_WHITE - 1)
    level = np.nan_to_num(np.clip(level, 0, _WHITE - 1), nan=_WHITE)
    return np.full_like(level, _WHITE, np.uint8) if holes else level.round().astype(np.uint8)


def _strip(panels: Sequence[np.ndarray | None], palette: np.ndarray) -> bytes:
    shape = next(panel.shape for panel in panels if panel is not None)
    gap = np.full((shape[0], _GAP), _WHITE, np.uint8)
    parts: list[np.ndarray] = []
    for panel in panels:
        parts += [gap, np.full(shape, _WHITE, np.uint8) if panel is None else panel]
    return indexed_png(np.hstack(parts[1:]), palette)


def _palette(name: str) -> np.ndarray:
    import matplotlib

    colors = matplotlib.colormaps[name](np.linspace(0, 1, _WHITE))[:, :3]
    return np.vstack([(colors * 255).round(), [[255, 255, 255]]]).astype(np.uint8)


def _legend(palette: np.ndarray, low: float, high: float, field: xr.DataArray) -> str:
    bar = data_url(indexed_png(np.arange(_WHITE, dtype=np.uint8)[None], palette))
    return (
        f'<div class="player-legend"><span>{low:.3g}</span><img src="{bar}" alt="color scale">'
        f"<span>{high:.3g}</span><span>{escape(label(field))}</span></div>"
    )


def _markup(
    titles: Sequence[str], still: bytes, data: dict[str, Any], legend: str, caption: str
) -> str:
    script = files("surform.reports").joinpath("player.js").read_text(encoding="utf-8")
    heads = "".join(f"<span>{escape(title)}</span>" for title in titles)
    return (
        '<figure class="player"><div class="player-screen">'
        f'<div class="player-titles">{heads}</div>'
        f'<img src="{data_url(still)}" alt="{escape(caption or "fields over time", quote=True)}">'
        f'{legend}</div><div class="player-controls"><button type="button">Play</button>'
        '<input type="range" min="0" max="0" value="0" aria-label="time">'
        f"<output>{escape(data['labels'][0])}</output></div>"
        f"<figcaption>{escape(caption)}</figcaption>"
        f'<script type="application/json">{json.dumps(data)}</script>'
        f"<script>\n{script}</script></figure>"
    )
