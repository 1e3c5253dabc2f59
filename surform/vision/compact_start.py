"""Compact transformers that begin with weights they were not made for, and what came of these."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from surform.hub.convert import from_official
from surform.hub.loading import load_model
from surform.hub.partial import Transfer, fitted_tensors, transfer

__all__ = ["begin_with"]

_FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def begin_with(net: nn.Module, source: str | Path | nn.Module) -> Transfer:
    """Give a classifier all weights of another network that fit, and say which did not.

    The last layer keeps its own values where it has another number of classes; positions are
    adapted to another size of images; a network with adapters takes the weights of one without.

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
    fitted, changed = fitted_tensors(net, other)
    return transfer(fitted, net, where, changed)
