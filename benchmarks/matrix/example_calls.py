"""Small calls of our own of the models that no golden case calls as a whole.

Most have no official code at all. Of RT-1 the cases are of its parts: the whole is an
EfficientNet-B3, and too large for a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.matrix.call import Call
from surform.registry import create_model

__all__ = ["EXAMPLES", "example_call"]


def example_call(name: str) -> Call:
    """The call of one of `EXAMPLES`, the same every time."""
    torch.manual_seed(0)
    return EXAMPLES[name]()


def _call(name: str, sizes: dict[str, Any], *arguments: Any, **keywords: Any) -> Call:
    return Call(create_model(name, **sizes).eval(), arguments, keywords)


def _rt1() -> Call:
    sizes = {
        "fields": (("move", 2, -1.0, 1.0), ("grip", 3)), "dim": 12, "depth": 2, "heads": 3,
        "head_dim": 5, "vocab_size": 7, "token_dim": 10, "frames": 3, "image_tokens": 2,
        "bottleneck": 6, "instruction_dim": 4, "encoder": "tf_efficientnet_b0", "image_size": 64,
    }  # fmt: skip
    return _call("rt1", sizes, torch.rand(2, 3, 3, 48, 70), torch.randn(2, 4))


class _EachRobot(nn.Module):
    """Actions of every robot: the network has no call of its own, but one for each robot."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, observations: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: self.net[name](seen) for name, seen in observations.items()}


def _hpt_embodiments() -> Call:
    small = {"stem_hidden": (16,), "stem_heads": 2, "stem_head_dim": 8, "head_hidden": (16, 16)}
    arm = {"action_dim": 4, "chunk": 8, "features": {"state": 39, "language": 16}}
    disc = {"action_dim": 2, "chunk": 16, "features": {"state": 5}}
    robots = {"arm": arm | small | {"tokens": 1}, "disc": disc | small | {"tokens": 2}}
    net = create_model("hpt_embodiments", embodiments=robots, dim=16, depth=2, heads=2).eval()
    seen = {
        "arm": {"state": torch.rand(3, 4, 39), "language": torch.randn(3, 1, 1, 16)},
        "disc": {"state": torch.rand(3, 4, 5)},
    }
    return Call(_EachRobot(net), (seen,), {})


def _bc_mlp() -> Call:
    sizes = {"action_dim": 4, "chunk": 8, "state_dim": 39, "language_dim": 16, "hidden": (32, 32)}
    return _call("bc_mlp", sizes, torch.randn(3, 1, 39), torch.randn(3, 16))


def _ranker(name: str, **own: Any) -> Callable[[], Call]:
    """Features of every kind; some samples have no value of a multi-valued one."""

    def call() -> Call:
        features = {
            "vocab_sizes": (5, 3),
            "multi_vocab_sizes": (4, 6),
            "dense_features": 3,
            "tasks": 2,
        }
        lengths = torch.tensor([[0, 0], [2, 1], [0, 3], [1, 2]])
        single = torch.stack([torch.randint(count, (4,)) for count in (5, 3)], 1)
        # all values of one sample after those of another, feature by feature
        several = torch.cat([
            torch.randint(count, (int(length),))
            for row in lengths
            for count, length in zip((4, 6), row, strict=True)
        ])  # fmt: skip
        sizes = features | {"embedding_std": 0.3} | own
        return _call(name, sizes, single, torch.randn(4, 3), several, lengths)

    return call


def _spectral_cnn() -> Call:
    sizes = {"window": 5, "in_channels": 6, "num_classes": 4, "filters": (4, 6)}
    return _call("spectral_cnn", sizes, torch.randn(3, 6, 5, 5))


def _fixed_jetformer() -> Call:
    """Its numbers have types that its own jets gave, as before training."""
    sizes = {"in_channels": 6, "dim": 16, "depth": 2, "heads": 2, "mask_padding": True}
    net: Any = create_model("fixed_jetformer", **sizes).eval()
    jets, keep = torch.randn(4, 9, 6), torch.arange(9) < torch.tensor([9, 7, 4, 1])[:, None]
    with torch.no_grad(), net.calibrate():
        net(jets, keep)
    return Call(net, (jets, keep), {})


def _sequence_encoder() -> Call:
    sizes = {"vocab_size": 17, "length": 40, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2}
    tokens = torch.randint(1, 17, (3, 33))
    tokens[1, 20:] = 0  # padding
    return _call("sequence_encoder", sizes, tokens)


EXAMPLES: dict[str, Callable[[], Call]] = {
    "rt1": _rt1,
    "hpt_embodiments": _hpt_embodiments,
    "bc_mlp": _bc_mlp,
    "autoint": _ranker("autoint", dense_tokens=2, width=8, deep=(6,)),
    "dcn_v2": _ranker("dcn_v2", dense_tokens=2, deep=(6,)),
    "dlrm": _ranker("dlrm", top=(6,)),
    "spectral_cnn": _spectral_cnn,
    "fixed_jetformer": _fixed_jetformer,
    "sequence_encoder": _sequence_encoder,
}
