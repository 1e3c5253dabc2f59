"""Names and shapes of Hiformer's recorded parameters, and ours; both ways by one list.

Recorded: matrices act as x @ W, heads stand on an axis of their own, tables are one per feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["STATISTICS", "to_official", "to_ours"]

STATISTICS = ("dense_mean", "dense_std")

Arguments = dict[str, Any]
State = dict[str, Tensor]


class Entry(NamedTuple):
    """One of our parameters, the recorded ones that make it, and the ways between them."""

    ours: str
    official: tuple[str, ...]
    join: Callable[[list[Tensor]], Tensor] = lambda parts: parts[0]
    split: Callable[[Tensor], list[Tensor]] = lambda whole: [whole]


def to_ours(state: State, constructor: Arguments) -> State:
    """Recorded parameters under our names; keys that no rule knows keep theirs.

    The statistics of the numbers are left out: a normaliser holds them.
    """
    rest = {key: value for key, value in state.items() if key not in STATISTICS}
    found = {}
    for entry in _entries(constructor):
        if all(key in rest for key in entry.official):
            found[entry.ours] = entry.join([rest.pop(key) for key in entry.official])
    return found | rest


def to_official(state: State, constructor: Arguments) -> State:
    """Our parameters, or gradients under our names, under the recorded names."""
    rest, found = dict(state), {}
    for entry in _entries(constructor):
        if entry.ours in rest:
            found |= dict(zip(entry.official, entry.split(rest.pop(entry.ours)), strict=True))
    return found | rest


def _entries(given: Arguments) -> Iterator[Entry]:
    sizes = [int(size) for size in given["vocab"]]
    if sizes:
        tables = tuple(f"cat_embed.{i}" for i in range(len(sizes)))
        yield Entry("features.table", tables, torch.cat, lambda x: list(x.split(sizes)))
    yield _same("task_tokens", "task_embed")
    yield _same("positions", "pos_embed")
    for ours, official in ((0, 0), (2, 1)):
        yield _turned(f"features.dense.{ours}.weight", f"dense_mlp.{official}.weight")
        yield _same(f"features.dense.{ours}.bias", f"dense_mlp.{official}.bias")
    for name in ("final_norm", "head"):
        for part in ("weight", "bias"):
            yield _same(f"{name}.{part}", f"{name}.{part}")
    for layer in range(given["layers"]):
        pruned = layer == given["layers"] - 1 and given.get("prune_last", True)
        yield from _in_layer(f"layers.{layer}.", given, pruned)


def _in_layer(at: str, given: Arguments, pruned: bool) -> Iterator[Entry]:
    kind, heads = given["attention"], given["H"]
    widths = {"q": given["dk"], "k": given["dk"], "v": given["dv"]}
    by_token = kind in ("shared", "feature")
    if by_token:
        for names in ("q", "kv") if pruned else ("qkv",):
            yield from _joined(at, names, [widths[name] for name in names], heads, kind == "shared")
    else:
        if pruned:
            yield from _joined(at, "q", [widths["q"]], heads, False)
        for name in "kv" if pruned else "qkv":
            yield from _composite(at, name, heads, widths[name], kind == "lowrank")
    after = f"{at}after."
    for part in ("norm1", "norm2"):
        for kept in ("weight", "bias"):
            yield _same(f"{after}{part}.{kept}", f"{at}{part}.{kept}")
    plain = _turned if kind == "shared" else _same
    yield plain(f"{after}out.weight", f"{at}o.weight")
    yield _same(f"{after}out.bias", f"{at}o.bias")
    for number, part in ((1, "up"), (2, "down")):
        yield plain(f"{after}feed_forward.{part}.weight", f"{at}ffn.w{number}")
        yield _same(f"{after}feed_forward.{part}.bias", f"{at}ffn.b{number}")


def _joined(at: str, names: str, widths: list[int], heads: int, shared: bool) -> Iterator[Entry]:
    """Weights (N, H, d, w) each, without N where shared: ours hold all widths of a head together,
    tokens' own as (N, d, H * w), shared ones as torch does, (H * w, d)."""
    ours = f"{at}maps.{names}"

    def join(parts: list[Tensor]) -> Tensor:
        whole = torch.cat(parts, -1).transpose(-3, -2).flatten(-2)
        return whole.T if shared else whole

    def split(whole: Tensor) -> list[Tensor]:
        whole = (whole.T if shared else whole).unflatten(-1, (heads, -1)).transpose(-3, -2)
        return list(whole.split(widths, -1))

    yield Entry(f"{ours}.weight", tuple(f"{at}{name}.weight" for name in names), join, split)
    yield Entry(
        f"{ours}.bias",
        tuple(f"{at}{name}.bias" for name in names),
        lambda parts: torch.cat(parts, -1).flatten(-2),
        lambda whole: list(whole.unflatten(-1, (heads, -1)).split(widths, -1)),
    )


def _composite(at: str, name: str, heads: int, width: int, low_rank: bool) -> Iterator[Entry]:
    """Recorded columns lie token by token, ours head by head."""
    ours, official = f"{at}maps.{name}.", f"{at}{name}."

    def by_head(axis: int) -> Callable[[list[Tensor]], Tensor]:
        return lambda x: (
            x[0]
            .unflatten(axis, (-1, heads, width))
            .transpose(axis, axis + 1)
            .flatten(axis, axis + 2)
        )

    def by_token(axis: int) -> Callable[[Tensor], list[Tensor]]:
        return lambda x: [
            x.unflatten(axis, (heads, -1, width)).transpose(axis, axis + 1).flatten(axis, axis + 2)
        ]

    if low_rank:
        yield _same(f"{ours}left", f"{official}left")
        yield Entry(f"{ours}right", (f"{official}right",), by_head(0), by_token(0))
    else:
        yield Entry(f"{ours}weight", (f"{official}weight",), by_head(1), by_token(1))
    yield Entry(
        f"{ours}bias",
        (f"{official}bias",),
        lambda x: x[0].transpose(0, 1).flatten(),
        lambda x: [x.unflatten(0, (heads, -1, width)).transpose(0, 1)],
    )


def _same(ours: str, official: str) -> Entry:
    return Entry(ours, (official,))


def _turned(ours: str, official: str) -> Entry:
    """A matrix that we keep as torch's linear maps do: outputs first."""
    return Entry(ours, (official,), lambda parts: parts[0].T, lambda whole: [whole.T])
