"""A module as it is when it is used, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout and with kept statistics; afterwards as before, whatever happens."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
