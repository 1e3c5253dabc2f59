"""Sharpness-aware minimisation: a step downhill by the gradient of the worst point nearby."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import get_total_norm
from torch.optim import LBFGS, Adam, Optimizer

from surform.training.randomness import rewind

__all__ = ["SharpnessAware"]

_TINY = 1e-12  # beside the norm, as the official code has it
_multi: Any = torch  # its functions of lists of tensors, one kernel for many, have no type stubs


class SharpnessAware(Optimizer):
    """Wrap an optimizer so that it steps from w by the gradient at w + e (SAM) instead of w.

    Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization" (ICLR
    2021), arXiv 2010.01412; adaptive: Kwon et al., "ASAM" (ICML 2021), arXiv 2102.11600.

    With g the gradient at w, e = rho g / |g|, or adaptive e = rho w^2 g / |w g|; norms are over all
    parameters. A step evaluates its closure at w and at w + e, with the same random numbers, then
    puts w back bit for bit and lets the base optimizer step. Weight decay and all else is the base
    optimizer's. Parameter groups and state are shared with it: schedules act on both, and a
    checkpoint holds nothing beside them.

    Args:
        params: parameters, or groups of them; a group may have its own rho and adaptive.
        base_optimizer: makes, from `params`, the optimizer that steps.
        rho: length of e, in the weights' units; relative to the weights if adaptive.
        adaptive: let each weight move in proportion to its size.

    Raises:
        ValueError: rho is negative, or the base optimizer evaluates a closure itself.
    """

    def __init__(
        self,
        params: Iterable[Any],
        base_optimizer: Callable[[Iterable], Optimizer] = lambda params: Adam(params, lr=1e-3),
        rho: float = 0.05,
        adaptive: bool = False,
    ) -> None:
        self.base = base_optimizer(params)
        if isinstance(self.base, (LBFGS, SharpnessAware)):
            raise ValueError(
                f"base_optimizer is {type(self.base).__name__}, which evaluates the loss itself: "
                "take one that steps by the gradient alone, such as Adam or SGD"
            )
        self.perturbed = False
        self._watched: list[nn.Module] = []
        self._kept: dict[Tensor, Tensor] = {}
        options = {"rho": rho, "adaptive": adaptive}
        super().__init__(self.base.param_groups, self.base.defaults | options)
        self._share()

    def watch_buffers(self, module: nn.Module) -> None:
        """Let a step change the module's buffers (running statistics) once, not twice.

        What the first evaluation changes in place is put back to that after the second.
        """
        self._watched = [each for each in module.modules() if each._buffers]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; `closure` zeroes the gradients, evaluates the loss and differentiates it.

        Returns:
            What the closure gave at w.

        Raises:
            RuntimeError: there is no closure.
        """
        if closure is None:
            raise RuntimeError(
                "SharpnessAware evaluates the loss twice, so it needs step(closure); a gradient "
                "scaler (precision 16-mixed) gives none: use bf16-mixed or 32-true"
            )
        again, versions = rewind(self._devices()), self._versions()
        with torch.enable_grad():
            loss = closure()
        buffers = [(b, b.clone()) for b, version in versions if b._version != version]
        weights = self._climb()
        try:
            self.zero_grad()
            self.perturbed = True
            again()
            with torch.enable_grad():
                closure()
        finally:  # an exception, too, leaves w behind
            self.perturbed = False
            _put_back(weights, [self._kept[weight] for weight in weights])
            for buffer, value in buffers:
                buffer.copy_(value)
        self.base.step()
        return loss

    @torch.no_grad()
    def _climb(self) -> list[Tensor]:
        """Move the weights from w to w + e; returns those that moved, w being in `_kept`."""
        groups = []
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            moves = [p.grad for p in weights]
            sizes = _multi._foreach_abs(weights) if weights and group["adaptive"] else None
            if sizes:
                moves = _multi._foreach_mul(moves, sizes)
            if weights:
                groups.append((group["rho"], weights, moves, sizes))
        norm = get_total_norm([move for _, _, moves, _ in groups for move in moves])
        for rho, weights, moves, sizes in groups:
            self._keep(weights)
            _add(weights, moves, sizes, rho / (norm + _TINY))
        torch.clear_autocast_cache()  # inside one autocast region, casts of w would be used again
        return [weight for _, weights, _, _ in groups for weight in weights]

    @torch.no_grad()
    def _keep(self, weights: list[Tensor]) -> None:
        """Copy w, into the same memory at every step."""
        for weight in weights:
            kept = self._kept.get(weight)
            if kept is None or (kept.dtype, kept.device) != (weight.dtype, weight.device):
                self._kept[weight] = torch.empty_like(weight)
        _multi._foreach_copy_([self._kept[weight] for weight in weights], weights)

    def _devices(self) -> set[torch.device]:
        return {p.device for group in self.param_groups for p in group["params"]}

    def _versions(self) -> list[tuple[Tensor, int]]:
        """The module's buffers and how often each was changed; -1 where torch does not count."""
        return [
            (buffer, -1 if isinstance(module, _NormBase) else buffer._version)
            for module in self._watched
            for buffer in module.buffers(recurse=False)
        ]

    # -- one set of groups and states for both optimizers ------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As for every optimizer; the base optimizer steps the group."""
        if self.param_groups is self.base.param_groups:
            self.base.add_param_group(param_group)
        else:  # the base optimizer's own groups, during construction
            super().add_param_group(param_group)
        self._complete(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As for every optimizer; the base optimizer's own state dict will do as well."""
        self.base.load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.base.param_groups, self.base.state
        for group in self.param_groups:
            self._complete(group)

    def _complete(self, group: dict[str, Any]) -> None:
        for name in ("rho", "adaptive"):
            group.setdefault(name, self.defaults[name])
        if not group["rho"] >= 0:
            raise ValueError(f"rho is {group['rho']!r}, but must be >= 0")

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {
            "base": self.base,
            "perturbed": False,
            "_watched": [],
            "_kept": {},
        }


def _add(
    weights: list[Tensor], moves: list[Tensor], sizes: list[Tensor] | None, scale: Tensor
) -> None:
    """weights += scale * moves (* sizes); moves are spent."""
    if scale.device.type == "cpu":
        factor = scale.item()
    else:  # reading a number would wait for the device
        _multi._foreach_mul_(moves, scale)
        factor = 1.0
    if sizes is None:
        _multi._foreach_add_(weights, moves, alpha=factor)
    else:
        _multi._foreach_addcmul_(weights, moves, sizes, value=factor)


@torch.no_grad()
def _put_back(tensors: list[Tensor], values: list[Tensor]) -> None:
    if tensors:
        _multi._foreach_copy_(tensors, values)
