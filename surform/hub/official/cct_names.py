"""The published names of compact transformers, as the official constructor's arguments."""

from __future__ import annotations

import difflib
import re
from typing import Any

__all__ = ["heads_of", "official_arguments", "published_names"]

# name: layers, heads, mlp_ratio, embedding_dim
_SIZES = {
    "2": (2, 2, 1, 128),
    "4": (4, 2, 1, 128),
    "6": (6, 4, 2, 256),
    "7": (7, 4, 2, 256),
    "8": (8, 4, 2, 256),
    "14": (14, 6, 3, 384),
}
_NAME = re.compile(
    r"(?P<kind>cct|cvt|vit)_(?P<size>\d+)_(?P<window>\d+)(x(?P<convolutions>\d))?_(?P<side>\d+)"
    r"(?P<sine>_sine)?(?P<data>_c100|_fl)?"
)
_CLASSES = {"cct": "CCT", "cvt": "CVT", "vit": "ViTLite"}
_CCT = ("2_3x2_32", "4_3x2_32", "6_3x1_32", "6_3x2_32", "7_3x1_32", "7_3x2_32")
_CCT += ("7_7x2_224", "14_7x2_224", "14_7x2_384")


def published_names() -> tuple[str, ...]:
    """All sizes, without the endings `_sine`, `_c100` (CIFAR-100) and `_fl` (Flowers-102)."""
    patches = [f"{kind}_{size}_4_32" for kind in ("cvt", "vit") for size in ("2", "4", "6", "7")]
    return (*(f"cct_{name}" for name in _CCT), "cvt_8_4_32", *patches)


def official_arguments(name: str) -> dict[str, Any]:
    """Arguments of the official constructor, with its `class`.

    Of the `_sine` names of CCT and CVT the official factories lose the positions on the way, so
    that they are learnable: such names have `legacy_sine`.

    Raises:
        ValueError: no published name.
    """
    found = _NAME.fullmatch(name)
    plain = name if found is None else name[: found.end("side")]
    if found is None or plain not in published_names():
        near = difflib.get_close_matches(plain, published_names(), n=3)
        raise ValueError(
            f"{name!r} is no published compact transformer: did you mean "
            f"{', '.join(near or published_names())}?"
        )
    layers, heads, ratio, dim = _SIZES[found["size"]]
    side, window = int(found["side"]), int(found["window"])
    classes = {"_c100": 100, "_fl": 102, None: 10 if side == 32 else 1000}[found["data"]]
    arguments: dict[str, Any] = {
        "class": _CLASSES[found["kind"]],
        "img_size": side,
        "embedding_dim": dim,
        "kernel_size": window,
        "num_layers": layers,
        "num_heads": heads,
        "mlp_ratio": ratio,
        "num_classes": classes,
        "positional_embedding": "sine" if found["sine"] else "learnable",
    }
    if found["kind"] == "cct":
        arguments["n_conv_layers"] = int(found["convolutions"])
        arguments |= {"stride": max(1, window // 2 - 1), "padding": max(1, window // 2)}
    if found["sine"] and found["kind"] != "vit":
        arguments["legacy_sine"] = True
    return arguments


def heads_of(layers: int, ratio: float, dim: int) -> int | None:
    """The heads of a published size; None for others."""
    return next((h for n, h, r, d in _SIZES.values() if (n, r, d) == (layers, ratio, dim)), None)
