"""One network of each kind in a usual size, and what it is called with.

Sizes are those of the papers where one batch of them takes a second or less of a core; deep ones
have fewer layers, which changes no share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from surform.registry import create_model

__all__ = ["NETWORKS", "Inputs"]

Inputs = Callable[[int], dict[str, Any]]  # size of the batch -> arguments by name


def _grid(*sides: int) -> list[Tensor]:
    return [torch.linspace(0, 1, side) for side in sides]


def _normal(name: str, *size: int) -> Inputs:
    return lambda b: {name: torch.randn(b, *size)}


def _field(b: int) -> dict[str, Any]:
    return {"u": torch.randn(b, 64, 64, 1), "coordinates": _grid(64, 64)}


def _flows(b: int) -> dict[str, Any]:
    return {"u": torch.randn(b, 10, 64, 64, 1), "coordinates": _grid(64, 64), "steps": 1}


def _channel(b: int) -> dict[str, Any]:
    return {"u": torch.randn(b, 1, 16, 16, 16, 3), "coordinates": _grid(16, 16, 16)}


def _marked(b: int) -> dict[str, Any]:
    marks = {"past_marks": torch.randn(b, 96, 4), "future_marks": torch.randn(b, 24, 4)}
    return {"history": torch.randn(b, 96, 7), **marks}


def _clusters(b: int) -> dict[str, Any]:
    """b clusters of 20 atoms, each bound to its 12 next ones."""
    sets, edges = torch.rand(b, 20, 3) * 6, []
    for number, places in enumerate(sets):
        near = torch.cdist(places, places).argsort(1)[:, 1:13] + 20 * number
        own = torch.arange(20)[:, None].expand_as(near) + 20 * number
        edges.append(torch.stack([near.flatten(), own.flatten()]))
    atoms = {"positions": sets.flatten(0, 1), "atomic_numbers": torch.randint(1, 10, (20 * b,))}
    return {**atoms, "edge_index": torch.cat(edges, 1)}


def _frames(b: int) -> dict[str, Any]:
    images = torch.randint(0, 256, (b, 6, 3, 96, 96), dtype=torch.uint8)
    return {"images": images, "instruction": torch.randn(b, 512)}


def _observed(b: int) -> dict[str, Any]:
    noisy = {"actions": torch.rand(b, 8, 4) * 2 - 1, "time": torch.randint(0, 100, (b,))}
    return {"observation": {"state": torch.randn(b, 39), "language": torch.randn(b, 64)}, **noisy}


def _stems(b: int) -> dict[str, Any]:
    return {"observation": {"state": torch.randn(b, 1, 39), "language": torch.randn(b, 1, 64)}}


def _rounds(b: int) -> dict[str, Any]:
    played = nn.functional.one_hot(torch.randint(0, 10, (b, 200)), 10).float()
    ones = torch.ones(b, 200, 1)
    context = {"states": ones, "actions": played, "next_states": ones}
    return {"query": torch.ones(b, 1), **context, "rewards": torch.randn(b, 200)}


def _whole(name: str, top: int, *size: int) -> Inputs:
    return lambda b: {name: torch.randint(1, top, (b, *size))}


def _net(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: create_model(name, **options)


_ROWS: Any = {"vocab_sizes": (1000,) * 30}
_ROBOT: Any = {"state_dim": 39, "language_dim": 64, "language_as": "token", "cameras": []}
_HAND: Any = {"features": {"state": 39, "language": 64}, "history": 1}
_IMAGES: Any = {"image_size": 32, "num_classes": 10}

# model -> how it is made, batch, its arguments
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, Inputs]] = {
    "galerkin2d": (_net("galerkin2d"), 2, _field),
    "factformer2d": (_net("factformer2d", depth=2), 1, _flows),
    "ifactformer": (_net("ifactformer", iterations=2), 1, _channel),
    "gnot": (_net("gnot", dim=96), 2, _normal("points", 2000, 2)),
    "itransformer": (_net("itransformer"), 32, _normal("history", 96, 21)),
    "informer": (_net("informer", variates=7, marks=4), 16, _marked),
    "card": (_net("card", variates=21), 16, _normal("history", 96, 21)),
    "samformer": (_net("samformer", variates=21), 64, _normal("history", 512, 21)),
    "pathformer": (_net("pathformer", variates=7), 16, _normal("history", 96, 7)),
    "vitpose": (_net("vitpose", depth=2), 2, _normal("images", 3, 256, 192)),
    "cct": (_net("cct", dim=256, depth=7, heads=4, **_IMAGES), 8, _normal("x", 3, 32, 32)),
    "equiformer_v2": (_net("equiformer_v2", dim=64, depth=2, lmax=4), 2, _clusters),
    "rt1": (_net("rt1", depth=2, image_size=96, crop=False), 1, _frames),
    "dit_policy": (_net("dit_policy", action_dim=4, chunk=8, depth=4, **_ROBOT), 16, _observed),
    "hpt": (_net("hpt", action_dim=4, chunk=8, depth=4, **_HAND), 64, _stems),
    "dpt": (_net("dpt", actions=10), 16, _rounds),
    "hiformer": (_net("hiformer", **_ROWS), 256, _whole("categorical", 1000, 30)),
    "autoint": (_net("autoint", **_ROWS), 256, _whole("categorical", 1000, 30)),
    "dcn_v2": (_net("dcn_v2", **_ROWS), 256, _whole("categorical", 1000, 30)),
    "dlrm": (_net("dlrm", **_ROWS), 256, _whole("categorical", 1000, 30)),
    "ast": (_net("ast", frames=256, depth=2), 2, _normal("spectrograms", 256, 128)),
    "passt": (
        _net("passt", frames=250, depth=2, patchout_frequency=4, patchout_time=5),
        2,
        _normal("spectrograms", 250, 128),
    ),
    "pyformer": (
        _net("pyformer", window=8, in_channels=15, num_classes=9),
        4,
        _normal("x", 15, 8, 8),
    ),
    "jetformer": (_net("jetformer"), 64, _normal("x", 30, 16)),
    "sequence_encoder": (
        _net("sequence_encoder", vocab_size=16, length=512, num_classes=10, dim=256, depth=2),
        4,
        _whole("tokens", 16, 512),
    ),
}
