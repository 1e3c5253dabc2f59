"""Weights of one network in another that is not quite the same, with a report of what was kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Transfer", "fitted_tensors", "transfer"]

_ADAPTERS = "adapters."


@dataclass(frozen=True)
class Transfer:
    """What became of the tensors.

    Args:
        kept: names in the network whose values are those of the source, changed ones included.
        changed: name -> how the source's values were made to fit.
        fresh: name -> why the network's own values stayed.
        unused: names in the source that the network has no place for.
    """

    kept: tuple[str, ...]
    changed: dict[str, str] = field(default_factory=dict)
    fresh: dict[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"kept {len(self.kept)} of {len(self.kept) + len(self.fresh)} tensors"]
        lines += [f"changed {name}: {how}" for name, how in self.changed.items()]
        lines += [f"fresh {name}: {why}" for name, why in self.fresh.items()]
        if self.unused:
            lines.append(f"unused: {', '.join(self.unused)}")
        return "\n".join(lines)


def fitted_tensors(net: nn.Module, source: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of `source` as `net` wants them, and name -> how they were made to fit.

    A network that has `adapted(state, source)` changes names, or tensors: positions of another
    size.
    """
    state = dict(source.state_dict())
    adapt: Any = getattr(net, "adapted", None)
    fitted = state if adapt is None else adapt(state, source)
    changed = {}
    for name, value in fitted.items():
        given = state.get(name, state.get(name.removeprefix("net.")))
        if given is None:
            continue
        if given.shape != value.shape or bool((given.cpu() != value.cpu()).any()):
            changed[name] = f"{tuple(given.shape)} fitted to {tuple(value.shape)}"
    return fitted, changed


@torch.no_grad()
def transfer(
    state: Mapping[str, Tensor],
    net: nn.Module,
    where: str,
    changed: Mapping[str, str] | None = None,
) -> Transfer:
    """Copy into `net` every tensor that has a place of the same name and shape there.

    Args:
        state: under the network's names.
        where: what the tensors come from, for the error.
        changed: name -> how it was made to fit before, for the report.

    Raises:
        ValueError: nothing fits, which no one wants; or a tensor is not finite.
    """
    own = net.state_dict()
    fresh = {name: "the source has none" for name in own if name not in state}
    for name, value in state.items():
        if name in own and value.shape != own[name].shape:
            fresh[name] = f"{tuple(value.shape)} in the source, {tuple(own[name].shape)} here"
    kept = tuple(name for name in own if name not in fresh)
    wrong = [n for n in kept if state[n].is_floating_point() and not state[n].isfinite().all()]
    if wrong:
        raise ValueError(f"{where} has values that are not finite: {wrong[0]}")
    if not any(own[name].is_floating_point() for name in kept):
        raise ValueError(
            f"nothing in {where} fits this network: it has {_few(state)}, the network {_few(own)}"
        )
    for name in kept:
        own[name].copy_(state[name])
    unused = tuple(name for name in state if name not in own)
    fitted = {n: how for n, how in (changed or {}).items() if n in kept}
    if not any(name.startswith(_ADAPTERS) for name in state):
        fresh = _told_together(fresh)
    return Transfer(kept, fitted, dict(sorted(fresh.items())), unused)


def _told_together(fresh: dict[str, str]) -> dict[str, str]:
    """New adapters in one line."""
    own = [name for name in fresh if name.startswith(_ADAPTERS)]
    more = {"adapters": f"their {len(own)} tensors are new"} if own else {}
    return {name: why for name, why in fresh.items() if name not in own} | more


def _few(state: Mapping[str, Tensor]) -> str:
    shown = [f"{name} {tuple(value.shape)}" for name, value in list(state.items())[:3]]
    return ", ".join(shown) + (", ..." if len(state) > 3 else "")
