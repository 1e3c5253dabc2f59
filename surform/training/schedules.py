"""Learning-rate schedules, stepped after every optimizer step: plain descriptions to build."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from surform.training.epoch_schedules import (
    CosineEpochs,
    DelayedDecay,
    Halving,
    Milestones,
    Plateau,
    RestartedCosine,
    StepDecay,
    WarmCosine,
)
from surform.training.parameter_groups import SCALE
from surform.training.schedule import STATE, EpochSchedule, Schedule

__all__ = ["Constant", "Cosine", "CosineEpochs", "DelayedDecay", "EpochSchedule", "Halving"]
__all__ += ["Milestones", "OneCycle", "Plateau", "RestartedCosine", "Schedule", "StepDecay"]
__all__ += ["WarmCosine", "WholeCosine"]


class OneCycle(Schedule):
    """Up from max_lr / div_factor to max_lr, then down to that start / final_div_factor.

    Momentum (beta1 of Adam) moves the other way, 0.85 to 0.95, as in torch's `OneCycleLR`, which
    the Galerkin Transformer and FactFormer use with its defaults.

    Args:
        max_lr: the peak; None takes the optimizer's learning rate.
        pct_start: share of the steps spent going up.
        div_factor: max_lr over the first learning rate.
        final_div_factor: first over last learning rate.
        cycle_momentum: whether momentum moves too.
    """

    def __init__(
        self,
        max_lr: float | None = None,
        pct_start: float = 0.3,
        div_factor: float = 1e4,
        final_div_factor: float = 1e4,
        cycle_momentum: bool = True,
    ) -> None:
        if max_lr is not None and max_lr <= 0:
            raise ValueError(f"max_lr must be positive, got {max_lr}")
        if not 0 < pct_start < 1:
            raise ValueError(f"pct_start must lie between 0 and 1, got {pct_start}")
        if min(div_factor, final_div_factor) < 1:
            raise ValueError("div_factor and final_div_factor must be at least 1")
        self.max_lr = max_lr
        self.pct_start = pct_start
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        self.cycle_momentum = cycle_momentum

    def build(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        groups = optimizer.param_groups
        peaks = [group["lr"] for group in groups]
        if self.max_lr is not None:
            peaks = [self.max_lr * group.get(SCALE, 1.0) for group in groups]
        rise = self.pct_start
        if rise * total_steps == 1:  # a rise of no length, by which torch would divide
            rise *= 1 + 1e-9
        return _OneCycleLR(
            optimizer,
            peaks,
            total_steps=total_steps,
            pct_start=rise,
            div_factor=self.div_factor,
            final_div_factor=self.final_div_factor,
            cycle_momentum=self.cycle_momentum,
        )


class Cosine(Schedule):
    """Linear warm-up to the optimizer's learning rate, then half a cosine down.

    Args:
        warmup: share of the steps spent going up.
        final: last learning rate as a share of the peak.
    """

    def __init__(self, warmup: float = 0.05, final: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup must lie in [0, 1), got {warmup}")
        if not 0 <= final <= 1:
            raise ValueError(f"final must lie in [0, 1], got {final}")
        self.warmup = warmup
        self.final = final

    def build(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        rise = max(1, round(self.warmup * total_steps))

        def factor(step: int) -> float:
            if self.warmup and step < rise:
                return (step + 1) / rise
            done = min(1.0, (step - rise) / max(1, total_steps - rise))
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2

        return LambdaLR(optimizer, factor)


class WholeCosine(Schedule):
    """Linear warm-up, then what half a cosine over the whole run has left: a small step down.

    Of EquiformerV2's code (arXiv 2306.12059), which counts the cosine from the first step on.

    Args:
        warmup: share of the steps spent going up.
        start: first learning rate as a share of the peak.
        final: last learning rate as a share of the peak.
    """

    def __init__(self, warmup: float = 0.01, start: float = 0.2, final: float = 0.01) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup must lie in [0, 1), got {warmup}")
        for name, share in (("start", start), ("final", final)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {share}")
        self.warmup, self.start, self.final = warmup, start, final

    def build(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        rise = int(self.warmup * total_steps)

        def factor(step: int) -> float:
            if rise and step <= rise:
                return self.start + (1 - self.start) * step / rise
            done = min(1.0, step / total_steps)
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2

        return LambdaLR(optimizer, factor)


class Constant(Schedule):
    """The optimizer's learning rate, throughout."""

    def build(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        return LambdaLR(optimizer, lambda step: 1.0)


class _OneCycleLR(OneCycleLR):
    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in STATE if hasattr(self, name)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.__dict__.update({name: state_dict[name] for name in STATE if name in state_dict})
