"""Remember how a module was built, so that it can be saved as its constructor's plain arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["record_arguments"]

Init = TypeVar("Init", bound=Callable[..., None])


def record_arguments(init: Init) -> Init:
    """Decorate `__init__`: keep its bound arguments, defaults included, in `self.arguments`.

    The outermost call wins, so a subclass that calls `super().__init__` keeps its own arguments.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        # nn.Module.__setattr__ is not ready before super().__init__(), hence __dict__.
        if "arguments" not in self.__dict__:
            self.__dict__["arguments"] = {k: v for k, v in bound.arguments.items() if k != "self"}
        init(self, *args, **kwargs)

    return wrapper  # type: ignore[return-value]
