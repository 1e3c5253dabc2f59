"""A model around other models: it is saved, loaded, described and called like what it wraps."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surform.hub.pretrained import Pretrained
from surform.registry import find

__all__ = ["Wrapper", "rebuild"]


class Wrapper(Pretrained):
    """Base of models that hold one or several models of a domain.

    What is not about uncertainty is that of the first wrapped model: network, description of the
    data, axes over which errors are alike.
    """

    def __init__(self, wrapped: Pretrained) -> None:
        # Not Pretrained.__init__: the network belongs to the wrapped model, and is stored there.
        nn.Module.__init__(self)
        # in the mode of what is wrapped: a module begins in training mode, with dropout at work
        self.training = wrapped.training
        self.metrics = dict(wrapped.metrics)
        self.protocols = dict(wrapped.protocols)
        self.card = dict(wrapped.card)

    @property
    def wrapped(self) -> Pretrained:
        """The model that speaks for all that is wrapped."""
        raise NotImplementedError

    @property
    def net(self) -> nn.Module:  # type: ignore[override]
        return self.wrapped.net

    @property
    def description(self) -> Any:  # type: ignore[override]
        return self.wrapped.description

    @description.setter
    def description(self, value: Any) -> None:
        self.wrapped.description = value

    @property
    def time_window(self) -> bool:
        """Whether inputs and outputs carry a time axis."""
        return bool(getattr(self.wrapped, "time_window", False))

    def __getattr__(self, name: str) -> Any:
        """A domain's own attributes (its normalisers, say) are those of the wrapped model."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            modules = self.__dict__.get("_modules", {})
            if not modules or name.startswith("_"):
                raise
            return getattr(self.wrapped, name)

    @property
    def innermost(self) -> Pretrained:
        """The model of the domain below all wrappers."""
        model = self.wrapped
        return model.innermost if isinstance(model, Wrapper) else model

    @property
    def usage(self) -> str:  # type: ignore[override]
        return self.innermost.usage

    @property
    def file_options(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.innermost.file_options

    def predict(self, *args: Any, **options: Any) -> Any:
        """As the domain's models predict, with quantiles where this one has them."""
        return type(self.innermost).predict(self, *args, **options)  # type: ignore[attr-defined]

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        return type(self.innermost).predict_file(self, source, out, **options)

    def read_description(self, values: dict[str, Any]) -> Any:  # type: ignore[override]
        return self.wrapped.read_description(values)

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        return self.wrapped.pooled_axes(ndim)

    def error_scale(self, batch: Any) -> Tensor | None:
        return self.wrapped.error_scale(batch)

    def settings(self) -> dict[str, Any]:
        return {"wraps": {"kind": self.wrapped.kind, "settings": self.wrapped.settings()}}

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.wrapped(*args, **kwargs)


def rebuild(net: nn.Module, wraps: Mapping[str, Any]) -> Pretrained:
    """The wrapped model, as `Wrapper.settings` recorded it, around `net`.

    Raises:
        ValueError: the record is not one.
    """
    if set(wraps) != {"kind", "settings"}:
        raise ValueError(f"wraps must have the keys kind and settings, not {', '.join(wraps)}")
    return find("surrogates", wraps["kind"])(net=net, **wraps["settings"])
