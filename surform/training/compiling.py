"""`torch.compile` where the machine can do it, plain running with one warning where it cannot."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["compile_in_place", "find_compiler", "missing_compiler"]


def find_compiler() -> str | None:
    """The C++ compiler that `torch.compile` finds, for the CPU backend and Triton's launcher."""
    if os.environ.get("CXX", "").strip():
        return shutil.which(os.environ["CXX"].split()[0])
    names = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")
    return next(filter(None, map(shutil.which, names)), None)


def missing_compiler() -> str | None:
    """Why `torch.compile` cannot build code on this machine; None when it can."""
    if find_compiler():
        return None
    named = os.environ.get("CXX")
    return f"CXX={named} is not a program" if named else "there is no C++ compiler (g++ or clang++)"


def compile_in_place(net: nn.Module) -> bool:
    """Compile `net.forward`, keeping the names in its state dict; says whether it did.

    A network's `forecast_and_penalty`, which training calls in place of `forward`, is compiled too.
    """
    import torch  # `surform doctor` asks for the compiler without it

    reason = missing_compiler()
    if reason is not None:
        warnings.warn(
            f"compile: {reason}, so the model runs uncompiled; see surform doctor", stacklevel=2
        )
        return False
    net.compile()
    second = getattr(net, "forecast_and_penalty", None)
    if second is not None and "forecast_and_penalty" not in vars(net):
        vars(net)["forecast_and_penalty"] = torch.compile(second)
    return True
