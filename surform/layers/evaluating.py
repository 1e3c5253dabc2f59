"""A module as it is when it is used, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout and with kept statistics; afterwards each part is as before, in any case."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        module.train(modes[0][1])  # parts with a `train` of their own may do more than note it
        for part, training in modes:
            part.training = training
