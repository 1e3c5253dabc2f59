"""Small pose networks whose weights all matter, and crops for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.vision.vitpose import ViTPose
from surform.vision.vitpose_plus import ViTPosePlus

SMALL: dict[str, Any] = {"image_size": (48, 32), "dim": 16, "depth": 2, "heads": 4}
SMALL |= {"deconv_channels": (12, 8)}


def pose_net(**options: Any) -> ViTPose:
    torch.manual_seed(0)
    return stirred(ViTPose(**{**SMALL, "joints": 5, **options}))


def plus_net(**options: Any) -> ViTPosePlus:
    torch.manual_seed(0)
    own = {"joints": (5, 3, 6), "experts": 3, "part_features": 4}
    return stirred(ViTPosePlus(**{**SMALL, **own, **options}))


def crops(batch: int = 2, size: tuple[int, int] = (48, 32)) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, 3, *size)


def stirred(net: Any) -> Any:
    """Every parameter and statistic moved away from where it begins."""
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return net
