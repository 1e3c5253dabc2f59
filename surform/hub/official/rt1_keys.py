"""Object paths of RT-1's TensorFlow checkpoints and our names: one table, read both ways.

TensorFlow keeps linear maps as (in, out), convolutions as (height, width, in, out), queries, keys
and values as (in, heads, head_dim) each. All entries are linear, so that gradients go the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from surform.hub.official.entries import Entry, joined, keras_attention, split
from surform.registry import import_object

__all__ = ["ENCODER", "entries", "to_official", "to_ours"]

State = dict[str, Tensor]
ENCODER = "tf_efficientnet_b3"  # the only one of the official code
_NET = "_image_tokenizer/_tokenizer/net/layer_with_weights-"
_FILM = ("_projection_mult", "_projection_add")


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official state dict -> ours, as far as it goes."""
    return joined(state, entries(constructor))


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict (or gradients under our names) -> official keys."""
    return split(state, entries(constructor))


def entries(constructor: dict[str, Any]) -> Iterator[Entry]:
    """All of a network of these sizes."""
    learner, ours = "_image_tokenizer/_token_learner/", "tokenizer.learner."
    yield from _norm(f"{ours}norm", f"{learner}layernorm")
    yield from _linear(f"{ours}hidden", f"{learner}mlp/_hidden_layer")
    yield from _linear(f"{ours}out", f"{learner}mlp/_output_layer")
    yield from _encoder()
    yield from _linear("transformer.embed", "_transformer/_token_emb")
    yield from _linear("transformer.head", "_transformer/_output_tokens")
    yield _one("transformer.positions", "_transformer/_position_emb/kernel")
    yield _one("transformer.position_bias", "_transformer/_position_emb/bias")
    heads = constructor.get("num_heads", 8)
    for i in range(constructor.get("num_layers", 1)):
        yield from _layer(f"transformer.blocks.{i}.", f"_transformer/_layers/{i}/", heads)


def _layer(ours: str, official: str, heads: int) -> Iterator[Entry]:
    for norm in (1, 2):
        yield from _norm(f"{ours}norm{norm}", f"{official}layernorm{norm}")
    yield from _linear(f"{ours}linear", f"{official}ff")
    parts = [f"{official}mha1/_{name}_dense" for name in ("query", "key", "value")]
    yield from keras_attention(f"{ours}attention", parts, f"{official}mha1/_output_dense", heads)


def _encoder() -> Iterator[Entry]:
    ours = "tokenizer.encoder."
    yield _one(f"{ours}mean", f"{_NET}0/mean")
    yield _one(f"{ours}variance", f"{_NET}0/variance")
    layers, films, channels = _numbered()
    for number, path, kind in layers:
        name = f"{ours}trunk.{path}"
        if kind == "norm":
            yield from _norm(name, f"{_NET}{number}")
            yield _one(f"{name}.running_mean", f"{_NET}{number}/moving_mean")
            yield _one(f"{name}.running_var", f"{_NET}{number}/moving_variance")
        elif kind == "depthwise":
            key = f"{_NET}{number}/depthwise_kernel"
            yield _one(f"{name}.weight", key, (2, 3, 0, 1), (2, 3, 0, 1))
        else:
            yield _convolution(name, f"{_NET}{number}")
            if kind == "biased":
                yield _one(f"{name}.bias", f"{_NET}{number}/bias")
    yield _convolution(f"{ours}project", "_image_tokenizer/_tokenizer/conv1x1")
    places = [f"{_NET}{n}" for n in films] + ["_image_tokenizer/_tokenizer/film_layer"]
    yield from film_entries(f"{ours}film", places, channels)


def film_entries(ours: str, places: Sequence[str], channels: Sequence[int]) -> Iterator[Entry]:
    """The maps of all FiLM layers; `channels` of all but the last, which has the rest."""
    start = [f"{place}/" if place else "" for place in places]
    paths = [f"{place}{name}" for place in start for name in _FILM]

    def halves(x: Tensor) -> Sequence[Tensor]:
        sizes = [each for each in channels for _ in _FILM]
        rest = (len(x) - sum(sizes)) // 2
        return x.split([*sizes, rest, rest])

    yield Entry(
        f"{ours}.weight",
        tuple(f"{path}/kernel" for path in paths),
        lambda each: torch.cat([x.t() for x in each]),
        lambda w: [x.t() for x in halves(w)],
    )
    yield Entry(
        f"{ours}.bias",
        tuple(f"{path}/bias" for path in paths),
        torch.cat,  # type: ignore[arg-type]
        halves,
    )


@cache
def _numbered() -> tuple[list[tuple[int, str, str]], list[int], list[int]]:
    """Keras' numbers of the layers with weights, in the order in which they were made.

    Layers as (number, timm's name, kind), numbers of the FiLM layers, and channels of these.
    """
    with torch.device("meta"):
        trunk = import_object("surform.robotics.film_efficientnet:build_trunk")(ENCODER)
    layers: list[tuple[int, str, str]] = []
    films: list[int] = []
    channels: list[int] = []
    number = 1  # 0 standardises the images

    def add(path: str, module: Any) -> None:
        nonlocal number
        for name, child in module.named_modules():
            kind = _kind(child)
            if kind:
                layers.append((number, f"{path}.{name}" if name else path, kind))
                number += 1

    add("conv_stem", trunk.conv_stem)
    add("bn1", trunk.bn1)
    for i, stage in enumerate(trunk.blocks):
        for j, block in enumerate(stage):
            add(f"blocks.{i}.{j}", block)
            channels.append(trunk.get_submodule(layers[-1][1]).num_features)
            films.append(number)
            number += 1
    add("conv_head", trunk.conv_head)
    add("bn2", trunk.bn2)
    return layers, films, channels


def _kind(module: Any) -> str | None:
    if isinstance(module, torch.nn.BatchNorm2d):
        return "norm"
    if not isinstance(module, torch.nn.Conv2d):
        return None
    if module.bias is not None:
        return "biased"
    return "depthwise" if module.groups > 1 else "convolution"


def _one(
    ours: str, official: str, there: tuple[int, ...] = (), back: tuple[int, ...] = ()
) -> Entry:
    """A tensor alone, its axes turned."""
    return Entry(
        ours,
        (official,),
        lambda each: each[0].permute(there) if there else each[0],
        lambda x: [x.permute(back) if back else x],
    )


def _linear(ours: str, official: str) -> Iterator[Entry]:
    yield _one(f"{ours}.weight", f"{official}/kernel", (1, 0), (1, 0))
    yield _one(f"{ours}.bias", f"{official}/bias")


def _norm(ours: str, official: str) -> Iterator[Entry]:
    yield _one(f"{ours}.weight", f"{official}/gamma")
    yield _one(f"{ours}.bias", f"{official}/beta")


def _convolution(ours: str, official: str) -> Entry:
    return _one(f"{ours}.weight", f"{official}/kernel", (3, 2, 0, 1), (2, 3, 1, 0))
