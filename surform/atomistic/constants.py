"""Derived constants of a network: in its dtype and on its device, never in a saved model."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Constants", "made_once"]

P = ParamSpec("P")
T = TypeVar("T")


def made_once(function: Callable[P, T]) -> Callable[P, T]:
    """Keep what a function makes: on the CPU and fit for gradients, wherever it is first asked for
    (networks are also built on the meta device, or under `torch.inference_mode`).
    """

    @lru_cache(maxsize=64)
    @wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.device("cpu"), torch.inference_mode(False):
            return function(*args, **kwargs)

    return make  # type: ignore[return-value]


class Constants(nn.Module):
    """Non-persistent buffers by name, made from exact values in float64.

    They are made again whenever the module is moved or cast, so that a network that was built in
    float32 and cast to float64 has all digits.
    """

    def __init__(self, **exact: Tensor) -> None:
        super().__init__()
        self.__dict__["exact"] = exact
        for name, value in exact.items():
            buffer = value.to(torch.get_default_dtype()) if value.is_floating_point() else value
            self.register_buffer(name, buffer, persistent=False)

    def __getitem__(self, name: str) -> Tensor:
        return getattr(self, name)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Constants:
        super()._apply(fn, recurse)
        exact: dict[str, Any] = self.__dict__["exact"]
        for name, value in exact.items():
            setattr(self, name, value.to(getattr(self, name)))
        return self
