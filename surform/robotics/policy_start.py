"""Policies that begin with weights they were not made for, and what came of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from surform.hub.loading import load_model
from surform.hub.official.hpt import read_trunk
from surform.hub.partial import Transfer, transfer
from surform.robotics.policy import Policy
from surform.training.checkpoint import load_surrogate

__all__ = ["begin_with"]

_OFFICIAL = (".pth", ".pt", ".bin")
_OF_THE_DATA = "limits."  # what the statistics of the new data are put into


def begin_with(model: Policy, source: str | Path | nn.Module) -> Transfer:
    """Give a policy's network all weights of another one that fit, and say which did not.

    Statistics stay those of `model`. Stems and heads of another robot do not fit, HPT's trunk does.

    Args:
        source: a policy; whatever `load_model` takes (a folder, a name, hf://...); a run folder or
            its .ckpt; or an official trunk.pth of HPT.

    Raises:
        FileNotFoundError: no such source.
        ValueError: it is no policy, or nothing of it fits.
    """
    where = type(source).__name__ if isinstance(source, nn.Module) else str(source)
    if not isinstance(source, nn.Module) and Path(source).suffix in _OFFICIAL:
        trunk = getattr(model.net, "trunk", None)
        if trunk is None:
            raise ValueError(
                f"{where} holds a trunk of HPT, but {type(model.net).__name__} has none"
            )
        return transfer({f"trunk.{k}": v for k, v in read_trunk(source).items()}, model.net, where)
    other = _opened(source)
    if not isinstance(other, Policy):
        raise ValueError(f"{where} is a {type(other).__name__}, but must be a policy")
    state = {k: v for k, v in other.net.state_dict().items() if not k.startswith(_OF_THE_DATA)}
    done = transfer(state, model.net, where)
    fresh = {n: why for n, why in done.fresh.items() if not n.startswith(_OF_THE_DATA)}
    return Transfer(done.kept, done.changed, fresh, done.unused)


def _opened(source: str | Path | nn.Module) -> Any:
    if isinstance(source, nn.Module):
        return source
    path = Path(source)
    if path.is_file() and path.suffix == ".ckpt":
        return load_surrogate(path)
    inside = path / "model"
    return load_model(inside if (inside / "config.json").is_file() else source)
