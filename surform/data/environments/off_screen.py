"""OpenGL without a display: which library draws, and what must be loaded before it."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import sys

__all__ = ["draw_off_screen", "load_triton_first"]

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}


def load_triton_first() -> None:
    """Load triton, where there is one, before software OpenGL is.

    Both bring a copy of LLVM. Loaded after OpenGL, as torch does at the first optimiser, triton
    ends the process without a word; the other way round they get along.
    """
    if importlib.util.find_spec("triton") is not None:
        import triton  # noqa: F401  # pyright: ignore[reportMissingImports]


def draw_off_screen() -> None:
    """Have MuJoCo draw without a display; call it before mujoco is imported.

    `MUJOCO_GL`, where it is set, decides.

    Raises:
        OSError: no library that can do it is installed, or mujoco was loaded without one.
    """
    if os.environ.get("MUJOCO_GL"):
        return
    if "mujoco" in sys.modules:
        raise OSError(
            "mujoco was loaded before without OpenGL, which cannot be made up for: set MUJOCO_GL, "
            "or open the environment that draws first"
        )
    found = [kind for kind, name in _LIBRARIES.items() if ctypes.util.find_library(name)]
    if not found:
        raise OSError(
            "pictures of MuJoCo need OpenGL without a display: install libegl1 or libosmesa6 with "
            "the system's package manager, or leave out images and videos"
        )
    os.environ["MUJOCO_GL"] = found[0]
