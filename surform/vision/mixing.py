"""Images of a batch mixed with one another, and rectangles erased: timm's mixup, cutmix, erasing.

Zhang et al., "mixup", 2017 (arXiv 1710.09412); Yun et al., "CutMix", 2019 (arXiv 1905.04899); Zhong
et al., "Random Erasing", 2017 (arXiv 1708.04896).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surform.data.extras import require_extra
from surform.layers.checks import fraction

__all__ = ["Mixing"]


class Mixing:
    """What training does to a whole batch; random numbers come from numpy, `random` and torch.

    Args:
        mixup: alpha of the beta distribution of mixing shares; 0 does not mix.
        cutmix: likewise for the area that is cut out of another image.
        probability: that a batch is mixed at all.
        switch: that cutmix is chosen where both are on.
        erasing: probability that a rectangle of an image is replaced by noise.
    """

    def __init__(
        self, mixup: float, cutmix: float, probability: float, switch: float, erasing: float
    ) -> None:
        for name, value in (("mixup", mixup), ("cutmix", cutmix)):
            if value < 0:
                raise ValueError(f"{name} is {value}, but must not be negative")
        for name, value in (("mix_probability", probability), ("mix_switch", switch)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, but must lie in [0, 1]")
        fraction(erasing=erasing)
        self._mixer = self._eraser = None
        if mixup or cutmix:
            data = require_extra("timm.data", "vision", "mixing images (mixup, cutmix)")
            self._mixer = data.Mixup(
                mixup_alpha=mixup,
                cutmix_alpha=cutmix,
                prob=probability,
                switch_prob=switch,
                mode="batch",
                label_smoothing=0.0,
            )
        if erasing:
            module = require_extra("timm.data.random_erasing", "vision", "erasing")
            self._eraser: Any = module.RandomErasing(erasing, mode="pixel", device="cpu")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed."""
        return self._mixer is not None

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images (B, C, H, W) and their targets (B, K) alike; B must be even."""
        if self._mixer is None:
            return images, targets
        # shares of the batch's own images instead of classes: any kind of target can be mixed then
        self._mixer.num_classes = len(images)
        numbers = torch.arange(len(images), device=images.device)
        mixed, shares = self._mixer(images.clone(), numbers)
        with torch.autocast(images.device.type, enabled=False):  # shares are not to be rounded
            return mixed, shares.to(targets) @ targets

    def erase(self, images: Tensor) -> Tensor:
        """Noise in rectangles of normalised images."""
        if self._eraser is None:
            return images
        self._eraser.device = images.device
        return self._eraser(images.clone())
