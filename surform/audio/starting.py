"""Networks of sound that begin with weights they were not made for, and what came of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from surform.hub.convert import from_official
from surform.hub.loading import load_model
from surform.hub.official.checkpoint import read_checkpoint
from surform.hub.partial import Transfer, transfer

__all__ = ["begin_with"]

_FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def begin_with(net: nn.Module, source: str | Path | nn.Module) -> Transfer:
    """Give a network all weights of another one that fit, and say which did not.

    The head keeps its own values where it has another number of classes; positions are adapted to
    another size, as the official AST does it; a network with adapters takes the weights of one
    without.

    Args:
        source: a network; whatever `load_model` takes; or an official checkpoint of AST or PaSST.

    Raises:
        FileNotFoundError: no such source.
        ValueError: nothing of it fits.
    """
    other: Any
    if isinstance(source, nn.Module):
        other, where = source, type(source).__name__
    else:
        path, where = Path(source), str(source)
        official = path.suffix in _FILES and not path.is_dir()
        other = (_official(path) if official else load_model(source)).net  # type: ignore[union-attr]
    state = dict(other.state_dict())
    adapt: Any = getattr(net, "adapted", None)
    fitted = state if adapt is None else adapt(state, other)
    shapes = {name.removeprefix("net."): value.shape for name, value in fitted.items()}
    changed = {
        name: f"{tuple(value.shape)} fitted to {tuple(shapes[name])}"
        for name, value in state.items()
        if name in shapes and shapes[name] != value.shape
    }
    prefix = "net." if any(name.startswith("net.") for name in fitted) else ""
    return transfer(fitted, net, where, {prefix + name: how for name, how in changed.items()})


def _official(path: Path) -> Any:
    system = "passt" if "time_new_pos_embed" in read_checkpoint(path) else "ast"
    return from_official(path, system).model
