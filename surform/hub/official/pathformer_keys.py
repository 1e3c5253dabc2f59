"""Parameter names and shapes of Pathformer: official state dict <-> ours.

Ours holds the small weights of all experts of a layer in one tensor each, one query map per patch
in one tensor, and queries, keys and values of the inter-patch attention as one map.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["DROPPED", "to_official", "to_ours"]

State = dict[str, Tensor]
_EXPERT = "AMS_lists.*.experts.*."
DROPPED = {
    "AMS_lists.*.end_MLP.fc.*": "the official forward pass never uses it",
    "AMS_lists.*.mean": "a constant, the mean of the router's noise: 0",
    "AMS_lists.*.std": "a constant, the deviation of the router's noise: 1",
    f"{_EXPERT}inter_patch_attention.sdp_attn.scale": "a constant, patch_size ** -0.5",
    f"{_EXPERT}norm_attn.1.*": "unused where batch_norm is 0",
    f"{_EXPERT}norm_ffn.1.*": "unused where batch_norm is 0",
}
_NORMS = ("norm_attn.1.", "norm_ffn.1.")
# (official, ours), modules that keep their tensors as they are
_MODEL = (("start_fc.", "lift."), ("projections.0.", "head."))
_ROUTER = (
    ("start_linear.", "merge."),
    ("w_gate.", "gate."),
    ("w_noise.", "noise."),
    ("trend_model.layer.", "trend.mix."),
)
_PARTS = (
    ("intra_Linear.", "intra.spread."),
    ("emb_linear.", "inter.embed."),
    ("W_pos", "inter.position"),
    ("inter_patch_attention.to_out.0.", "inter.out."),
    ("ff.0.", "up."),
    ("ff.3.", "down."),
    ("norm_attn.1.", "norm_in."),
    ("norm_ffn.1.", "norm_out."),
)
_PROJECTIONS = tuple(f"inter_patch_attention.W_{letter}." for letter in "QKV")
# our tensor, (experts, ...) -> the official tensors of one expert that it stacks
_STACKS = {
    "memory": ("weights_generator_distinct.memory",),
    **{f"weights.{i}": (f"weights_generator_distinct.generator.{2 * i}.weight",) for i in range(3)},
    **{f"biases.{i}": (f"weights_generator_distinct.generator.{2 * i}.bias",) for i in range(3)},
    "left": tuple(f"weights_generator_distinct.P.{j}" for j in range(2)),
    "right": tuple(f"weights_generator_distinct.Q.{j}" for j in range(2)),
    "bias": tuple(f"weights_generator_distinct.B.{j}" for j in range(2)),
    "shared_weight": tuple(f"weights_generator_shared.P.{j}" for j in range(2)),
    "shared_bias": tuple(f"weights_generator_shared.B.{j}" for j in range(2)),
}
_QUERIES = {"query_weight": "weight", "query_bias": "bias"}


def to_ours(state: State, constructor: dict[str, object]) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    rest = {k: v for k, v in state.items() if not _left_out(k, state, constructor)}
    ours = _renamed(rest, _MODEL, "", "")
    for layer in range(_count(rest, "AMS_lists.")):
        source, target = f"AMS_lists.{layer}.", f"layers.{layer}."
        ours |= _renamed(rest, _ROUTER, source, f"{target}router.")
        experts = [f"{source}experts.{e}." for e in range(_count(rest, f"{source}experts."))]
        for e, expert in enumerate(experts):
            place = f"{target}experts.{e}."
            ours |= _renamed(rest, _PARTS, expert, place)
            for kind in ("weight", "bias"):
                keys = [f"{expert}{projection}{kind}" for projection in _PROJECTIONS]
                ours[f"{place}inter.qkv.{kind}"] = torch.cat([rest.pop(key) for key in keys])
        ours |= {
            f"{target}node_weights.{name}": value for name, value in _nodes(rest, experts).items()
        }
    return ours | rest


def to_official(state: State, constructor: dict[str, object]) -> State:
    """Our state dict (or gradients under our names) -> the official one, without `DROPPED` keys."""
    rest = dict(state)
    found = _renamed(rest, _turned(_MODEL), "", "")
    for layer in range(_count(rest, "layers.")):
        source, target = f"layers.{layer}.", f"AMS_lists.{layer}."
        found |= _renamed(rest, _turned(_ROUTER), f"{source}router.", target)
        patches: list[int] = []
        for e in range(_count(rest, f"{source}experts.")):
            place, expert = f"{source}experts.{e}.", f"{target}experts.{e}."
            patches.append(len(rest[f"{place}inter.position"]))
            found |= _renamed(rest, _turned(_PARTS), place, expert)
            for kind in ("weight", "bias"):
                parts = rest.pop(f"{place}inter.qkv.{kind}").chunk(3)
                found |= {
                    f"{expert}{projection}{kind}": part
                    for projection, part in zip(_PROJECTIONS, parts, strict=True)
                }
        found |= dict(_official_nodes(rest, f"{source}node_weights.", target, patches))
    return found | rest


def _left_out(key: str, state: State, constructor: dict[str, object]) -> bool:
    if any(norm in key for norm in _NORMS):
        return not _configs(constructor).get("batch_norm", 0)
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in DROPPED)


def _configs(constructor: dict[str, object]) -> dict[str, object]:
    configs = constructor.get("configs", constructor)
    return configs if isinstance(configs, dict) else {}


def _count(state: State, start: str) -> int:
    """How many numbered modules lie below `start`."""
    numbers = {key[len(start) :].partition(".")[0] for key in state if key.startswith(start)}
    return len(numbers)


def _turned(table: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((b, a) for a, b in table)


def _renamed(state: State, table: tuple[tuple[str, str], ...], source: str, target: str) -> State:
    """Take out of `state` what lies below source + a, under target + b, for each (a, b)."""
    found: State = {}
    for a, b in table:
        for key in [key for key in state if key.startswith(source + a)]:
            found[target + b + key[len(source + a) :]] = state.pop(key)
    return found


def _nodes(rest: State, experts: list[str]) -> State:
    """Our `NodeWeights` of one layer."""

    def stacked(names: tuple[str, ...], expert: str) -> Tensor:
        parts = [rest.pop(expert + name) for name in names]
        return parts[0] if len(parts) == 1 else torch.stack(parts)

    found = {
        name: torch.stack([stacked(names, expert) for expert in experts])
        for name, names in _STACKS.items()
    }
    found["shared_bias"] = found["shared_bias"].squeeze(2)
    embeddings = [rest.pop(f"{expert}intra_embeddings") for expert in experts]
    for name, kind in _QUERIES.items():
        found[name] = torch.stack(
            [
                rest.pop(f"{expert}embeddings_generator.{patch}.0.{kind}")
                for expert, embedding in zip(experts, embeddings, strict=True)
                for patch in range(len(embedding))
            ]
        )
    found["embedding"] = torch.cat([embedding[:, 0, 0] for embedding in embeddings])
    return found


def _official_nodes(
    rest: State, source: str, target: str, patches: list[int]
) -> Iterator[tuple[str, Tensor]]:
    """The official names and tensors that our `NodeWeights` of one layer stand for."""
    experts = [f"{target}experts.{e}." for e in range(len(patches))]
    for name, names in _STACKS.items():
        value = rest.pop(source + name)
        value = value.unsqueeze(2) if name == "shared_bias" else value
        for expert, part in zip(experts, value, strict=True):
            pieces = (part,) if len(names) == 1 else part
            yield from zip((expert + official for official in names), pieces, strict=True)
    cut: Callable[[str], tuple[Tensor, ...]] = lambda name: rest.pop(source + name).split(patches)  # noqa: E731
    for expert, value in zip(experts, cut("embedding"), strict=True):
        yield f"{expert}intra_embeddings", value[:, None, None]
    for name, kind in _QUERIES.items():
        for expert, values in zip(experts, cut(name), strict=True):
            for patch, value in enumerate(values):
                yield f"{expert}embeddings_generator.{patch}.0.{kind}", value
