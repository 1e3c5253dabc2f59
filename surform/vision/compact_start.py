"""Compact transformers that begin with weights they were not made for, and what came of these."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from surform.hub.convert import from_official
from surform.hub.loading import load_model
from surform.hub.partial import Transfer, transfer

__all__ = ["begin_with"]

_FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def begin_with(net: nn.Module, source: str | Path | nn.Module) -> Transfer:
    """Give a classifier all weights of another network that fit, and say which did not.

    The last layer keeps its own values where it has another number of classes; a network that has
    `adapted(state, source)` changes tensors first: positions for another size of images.

    Args:
        source: a network; whatever `load_model` takes (a folder, a name, hf://...); or an official
            checkpoint of a compact transformer of a published size.

    Raises:
        FileNotFoundError: no such source.
        ValueError: nothing of it fits.
    """
    if isinstance(source, nn.Module):
        other, where = source, type(source).__name__
    else:
        path, where = Path(source), str(source)
        official = path.suffix in _FILES and not path.is_dir()
        other = (from_official(path, "cct").model if official else load_model(source)).net
    state = dict(other.state_dict())
    adapt = getattr(net, "adapted", None)
    fitted = state if adapt is None else adapt(state, other)
    changed = {
        name: f"{tuple(state[name].shape)} fitted to {tuple(value.shape)}"
        for name, value in fitted.items()
        if name in state and value is not state[name]
    }
    return transfer(fitted, net, where, changed)
