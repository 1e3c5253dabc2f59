"""Pictures as bytes: PNG files small enough to stand inside a page."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

__all__ = ["data_url", "indexed_png", "png"]


def png(figure: Figure, dpi: int = 140) -> bytes:
    """Render a matplotlib figure with the Agg backend, whatever backend the user has set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def indexed_png(levels: np.ndarray, palette: np.ndarray) -> bytes:
    """A picture of (rows, columns) uint8 levels through a (colors, 3) uint8 palette.

    One byte per pixel before compression: a third of what true color takes.
    """
    from PIL import Image  # matplotlib depends on it

    picture = Image.fromarray(levels)
    picture.putpalette(palette.tobytes())
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_url(image: bytes) -> str:
    """The `src` of an <img> that carries its own PNG."""
    return "data:image/png;base64," + base64.b64encode(image).decode("ascii")
