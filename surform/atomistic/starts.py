"""The weights that training of EquiformerV2 starts from, as the official code draws them."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from surform.atomistic.radial import RadialNet
from surform.atomistic.so3_linear import SO3Linear

__all__ = ["WeightInit", "start"]

WeightInit = Literal["uniform", "normal"]


def start(network: nn.Module, kind: WeightInit) -> None:
    """Zero biases; with "normal" weights of variance 1 / fan-in, save for those of radial nets.

    "normal" draws the convolutions' maps of orders m > 0 anew, too, without the factor 1/sqrt(2)
    that "uniform" leaves them.
    """
    radial = {m for net in network.modules() if isinstance(net, RadialNet) for m in net.modules()}
    for module in network.modules():
        if not isinstance(module, (nn.Linear, SO3Linear)) or module in radial:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if kind == "normal":
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight.shape[-1]))
