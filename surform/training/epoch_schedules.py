"""Learning rates per epoch, as published systems have them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from surform.layers.checks import at_least
from surform.training.schedule import EpochSchedule

__all__ = ["CosineEpochs", "DelayedDecay", "Halving", "Milestones", "Plateau", "RestartedCosine"]
__all__ += ["StepDecay", "WarmCosine"]


class Halving(EpochSchedule):
    """Two epochs at the optimizer's learning rate, then half of it after each further one.

    "type1" of Informer's and iTransformer's code (arXiv 2012.07436, 2310.06625).
    """

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        return lr * 0.5 ** max(0, epoch - 1)


class DelayedDecay(EpochSchedule):
    """`hold` epochs after the first at the full learning rate, then `decay` times as much each.

    "type3" of CARD's code (arXiv 2305.12095) and of Time-Series-Library.

    Args:
        hold: last epoch, counted from 0, that runs at the full learning rate.
        decay: factor from each epoch to the next one.
    """

    def __init__(self, hold: int = 3, decay: float = 0.9) -> None:
        at_least(0, hold=hold)
        if not 0 < decay <= 1:
            raise ValueError(f"decay is {decay!r}, but must lie in (0, 1]")
        self.hold, self.decay = hold, decay

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        return lr * self.decay ** max(0, epoch - self.hold)


class StepDecay(EpochSchedule):
    """`decay` times the learning rate after every `period` epochs: torch's `StepLR`.

    IFactFormer's recipe (arXiv 2412.18840), with its defaults.

    Args:
        period: epochs at the same learning rate.
        decay: factor from each such period to the next one.
    """

    def __init__(self, period: int = 5, decay: float = 0.7) -> None:
        at_least(1, period=period)
        if not 0 < decay <= 1:
            raise ValueError(f"decay is {decay!r}, but must lie in (0, 1]")
        self.period, self.decay = period, decay

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        return lr * self.decay ** (epoch // self.period)


class CosineEpochs(EpochSchedule):
    """Linear warm-up over epochs, then half a cosine towards zero at the end of the run.

    As CARD's code (arXiv 2305.12095) sets it, after each epoch: the first epoch runs at the full
    learning rate even where a warm-up follows.

    Args:
        warmup: epochs of warm-up, the first one included.
    """

    def __init__(self, warmup: int = 0) -> None:
        at_least(0, warmup=warmup)
        self.warmup = warmup

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        if epoch == 0:
            return lr
        if epoch < self.warmup:
            return lr * epoch / self.warmup
        falling = max(1, epochs - self.warmup)  # a run may end within its warm-up
        return 0.5 * lr * (1 + math.cos(math.pi * (epoch - self.warmup) / falling))


class RestartedCosine(EpochSchedule):
    """Half a cosine from the learning rate towards `floor`, begun anew every `period` epochs.

    SAMformer's recipe (arXiv 2402.10198), as its TensorFlow code runs it.

    Args:
        period: epochs between two restarts.
        floor: what the cosine falls towards, a learning rate.
    """

    def __init__(self, period: int = 5, floor: float = 1e-6) -> None:
        at_least(1, period=period)
        if floor < 0:
            raise ValueError(f"floor is {floor!r}, but a learning rate cannot be negative")
        self.period, self.floor = period, floor

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        height = (1 + math.cos(math.pi * (epoch % self.period) / self.period)) / 2
        return self.floor + (lr - self.floor) * height


class WarmCosine(EpochSchedule):
    """Linear warm-up over epochs, half a cosine down to a floor, and a while at the floor.

    timm's cosine, with which compact transformers (arXiv 2104.05704) are trained: the cosine counts
    the epochs of the warm-up, and the epochs at the floor come after it.

    Args:
        warmup: epochs of warm-up.
        start: learning rate of the first epoch of the warm-up.
        floor: learning rate at the end.
        cooldown: last epochs, at the floor.
    """

    def __init__(
        self, warmup: int = 10, start: float = 1e-6, floor: float = 1e-5, cooldown: int = 10
    ) -> None:
        at_least(0, warmup=warmup, cooldown=cooldown)
        if min(start, floor) < 0:
            raise ValueError(f"start is {start} and floor {floor}, but no rate can be negative")
        self.warmup, self.start, self.floor, self.cooldown = warmup, start, floor, cooldown

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        falling = max(1, epochs - self.cooldown)
        if epoch < self.warmup:
            return self.start + (lr - self.start) * epoch / self.warmup
        if epoch >= falling:
            return self.floor
        return self.floor + (lr - self.floor) * (1 + math.cos(math.pi * epoch / falling)) / 2


class Milestones(EpochSchedule):
    """Linear warm-up over optimizer steps, then `decay` times the rate from certain epochs on.

    mmcv's step policy, with which ViTPose (arXiv 2204.12484) is trained.

    Args:
        epochs: numbers of the epochs, counted from 0, from which on the rate is smaller.
        decay: factor at each of them.
        warmup: optimizer steps of warm-up.
        start: share of the rate at the first step of the warm-up.
    """

    def __init__(
        self,
        epochs: Sequence[int] = (170, 200),
        decay: float = 0.1,
        warmup: int = 500,
        start: float = 1e-3,
    ) -> None:
        at_least(0, warmup=warmup)
        if not all(isinstance(epoch, int) and epoch >= 1 for epoch in epochs):
            raise ValueError(f"epochs are {list(epochs)}, but must be whole numbers >= 1")
        for name, share in (("decay", decay), ("start", start)):
            if not 0 < share <= 1:
                raise ValueError(f"{name} is {share!r}, but must lie in (0, 1]")
        self.epochs, self.decay = tuple(epochs), decay
        self.warmup, self.start = warmup, start

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        return lr * self.decay ** sum(epoch >= milestone for milestone in self.epochs)

    def warm(self, step: int) -> float:
        if step >= self.warmup:
            return 1.0
        return self.start + (1 - self.start) * step / self.warmup


class Plateau(EpochSchedule):
    """Up as exp(-5 (1 - e / warmup)^2), a while at the learning rate, then linearly down to a rest.

    PaSST's schedule (arXiv 2110.05069), with its defaults; epoch e counts from 0, the first one as
    one half. The way up is that of temporal ensembling (arXiv 1610.02242).

    Args:
        warmup: epochs of the way up.
        hold: last epoch, counted from 0, that runs at the full learning rate.
        fall: epochs of the way down.
        final: what remains afterwards, as a share of the learning rate.
    """

    def __init__(
        self, warmup: int = 5, hold: int = 50, fall: int = 50, final: float = 0.01
    ) -> None:
        at_least(0, warmup=warmup, hold=hold)
        at_least(1, fall=fall)
        if not 0 <= final <= 1:
            raise ValueError(f"final is {final!r}, but must lie in [0, 1]")
        self.warmup, self.hold, self.fall, self.final = warmup, hold, fall, final

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        if epoch < self.warmup:
            lr *= math.exp(-5 * (1 - max(epoch, 0.5) / self.warmup) ** 2)
        gone = min(1.0, max(0, epoch - self.hold) / self.fall)
        return lr * (1 - (1 - self.final) * gone)
