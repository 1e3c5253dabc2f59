"""Networks of sound that begin with weights they were not made for, and what came of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from surform.hub.convert import from_official
from surform.hub.loading import load_model
from surform.hub.official.checkpoint import read_checkpoint
from surform.hub.partial import Transfer, fitted_tensors, transfer

__all__ = ["begin_with"]

_FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def begin_with(
    net: nn.Module, source: str | Path | nn.Module, classes: Sequence[str] | None = None
) -> Transfer:
    """Give a network all weights of another one that fit, and say which did not.

    The head keeps its own values where it has another number of classes, or other ones; positions
    are adapted to another size, as the official AST does it; a network with adapters takes the
    weights of one without.

    Args:
        source: a network; whatever `load_model` takes; or an official checkpoint of AST or PaSST.
        classes: of the network, where they are known.

    Raises:
        FileNotFoundError: no such source.
        ValueError: nothing of it fits.
    """
    other, where, theirs = _opened(source)
    fitted, changed = fitted_tensors(net, other)
    others = None not in (classes, theirs) and tuple(classes or ()) != tuple(theirs or ())
    kept = {name: value for name, value in fitted.items() if not (others and _is_head(name))}
    found = transfer(kept, net, where, changed)
    fresh = {n: "of other classes" if others and _is_head(n) else w for n, w in found.fresh.items()}
    return replace(found, fresh=fresh)


def _opened(source: str | Path | nn.Module) -> tuple[Any, str, Sequence[str] | None]:
    """A network, what to call it, and its classes where they are known."""
    if isinstance(source, nn.Module):
        return source, type(source).__name__, None
    path = Path(source)
    if path.suffix in _FILES and not path.is_dir():
        return _official(path).net, str(source), None
    model: Any = load_model(source)
    about = model.description
    return model.net, str(source), None if about is None else getattr(about, "classes", None)


def _is_head(name: str) -> bool:
    return name.removeprefix("net.").startswith("head.")


def _official(path: Path) -> Any:
    system = "passt" if "time_new_pos_embed" in read_checkpoint(path) else "ast"
    return from_official(path, system).model
