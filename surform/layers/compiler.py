"""The C++ compiler of this machine."""

from __future__ import annotations

import os
import shutil
import sys

__all__ = ["find_compiler", "missing_compiler"]


def find_compiler() -> str | None:
    """The C++ compiler that `torch.compile` finds, for the CPU backend and Triton's launcher."""
    if os.environ.get("CXX", "").strip():
        return shutil.which(os.environ["CXX"].split()[0])
    names = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")
    return next(filter(None, map(shutil.which, names)), None)


def missing_compiler() -> str | None:
    """Why code cannot be built on this machine; None when it can."""
    if find_compiler():
        return None
    named = os.environ.get("CXX")
    return f"CXX={named} is not a program" if named else "there is no C++ compiler (g++ or clang++)"
