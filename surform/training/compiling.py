"""`torch.compile` where the machine can do it, plain running with one warning where it cannot."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from surform.layers.compiler import missing_compiler

if TYPE_CHECKING:
    from torch import nn

__all__ = ["compile_in_place"]


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
