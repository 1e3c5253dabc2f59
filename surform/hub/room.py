"""Networks far larger than the weights beside them are not built: they would take all memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.parameter import is_lazy

__all__ = ["no_larger_than"]

_TIMES = 4  # what is built and then replaced counts, too
_MORE = {"tensors": 1000, "layers": 1000, "numbers": 2**26}


@contextmanager
def no_larger_than(state: Mapping[str, Tensor]) -> Iterator[None]:
    """What this thread builds may get parameters as the weights `state` have, with room to spare.

    Raises:
        ValueError: as soon as it gets far more, before the numbers of the last are drawn.
    """
    numbers = sum(tensor.numel() for tensor in state.values())
    stored = {"tensors": len(state), "layers": len(state), "numbers": numbers}
    thread, built = threading.get_ident(), Counter[str]()

    def add(what: str, count: int) -> None:
        if threading.get_ident() != thread:
            return
        built[what] += count
        if built[what] > (most := _TIMES * stored[what] + _MORE[what]):
            raise ValueError(
                f"they make more than {most} {what}, but {len(state)} tensors of {numbers} numbers "
                "are its weights"
            )

    def parameter(module: nn.Module, name: str, new: nn.Parameter) -> None:
        add("tensors", 1)
        add("numbers", 0 if is_lazy(new) else new.numel())

    def layer(module: nn.Module, name: str, new: nn.Module | None) -> None:
        """Copies of layers register no parameters."""
        add("layers", new is not None and next(new.parameters(), None) is not None)

    handles = (
        register_module_parameter_registration_hook(parameter),
        register_module_module_registration_hook(layer),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
