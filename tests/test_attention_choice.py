"""Models of several domains whose attention is chosen by configuration, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from surform.registry import create_model, find

SMALL = {"lsh": {"bucket_size": 4, "rounds": 2}, "multiresolution": {"block_size": 4}}
BODY = {"dim": 16, "depth": 2, "heads": 2}
ALL = ("additive", "delta", "knn", "lsh", "multiresolution", "spectral")
FIRST = tuple(kind for kind in ALL if kind != "delta")  # where the first token is read
UNORDERED = ("additive", "knn", "lsh", "spectral")
IMAGES = {"image_size": 16, "num_classes": 3, **BODY}
TEXTS = {"vocab_size": 9, "length": 20, "num_classes": 3, "word_dim": 8, **BODY}
SOUNDS = {"frames": 32, "mel_bins": 16, "patch_size": 8, "stride": 8, "num_classes": 3, **BODY}

# name -> (arguments, inputs, kinds of attention)
MODELS: dict[str, tuple[dict[str, Any], Callable[[], torch.Tensor], tuple[str, ...]]] = {
    "cct": (IMAGES | {"kernel_size": 3}, lambda: torch.randn(2, 3, 16, 16), ALL),
    "cvt": (IMAGES, lambda: torch.randn(2, 3, 16, 16), ALL),
    "vit_lite": (IMAGES, lambda: torch.randn(2, 3, 16, 16), FIRST),
    "text_cct": (TEXTS, lambda: torch.randint(0, 9, (2, 20)), ALL),
    "ast": (SOUNDS | {"pooling": "mean"}, lambda: torch.randn(2, 32, 16), ALL),
    "itransformer": (
        {"lookback": 12, "horizon": 4, **BODY}, lambda: torch.randn(2, 12, 9), UNORDERED
    ),
}  # fmt: skip
CHOICES = [(name, kind) for name, (_, _, kinds) in MODELS.items() for kind in kinds]


@pytest.mark.parametrize(("name", "kind"), CHOICES)
def test_the_attention_of_ones_choice_trains(name: str, kind: str) -> None:
    arguments, inputs, _ = MODELS[name]
    torch.manual_seed(0)
    net = create_model(name, **arguments, attention=kind, attention_options=SMALL.get(kind))
    assert net.arguments["attention"] == kind
    net(inputs()).sin().sum().backward()
    inside = [(n, p) for n, p in net.named_parameters() if "attention" in n]
    assert inside
    assert all(p.grad is not None and p.grad.isfinite().all() for _, p in inside)


@pytest.mark.fault
def test_what_a_model_has_no_use_for_is_said_in_one_sentence() -> None:
    for name, kind, message in (
        ("vit_lite", "delta", "looks back only, but the class token comes first"),
        ("ast", "delta", "pooling='both' reads the first tokens: set pooling to mean"),
        ("itransformer", "delta", "those of this model have no order"),
        ("itransformer", "multiresolution", "puts neighbours into one block"),
        ("cct", "performer", "attention is 'performer', but must be one of"),
    ):
        arguments = MODELS[name][0] | {"attention": kind}
        if name == "ast":
            arguments["pooling"] = "both"
        with pytest.raises(ValueError, match=message):
            create_model(name, **arguments)
    given: dict[str, Any] = {"attention": "flow", "attention_options": {"top_k": 3}}
    with pytest.raises(ValueError, match="flow attention has no options"):
        create_model("itransformer", **MODELS["itransformer"][0], **given)
    net = create_model("itransformer", **MODELS["itransformer"][0], attention="lsh")
    with pytest.raises(ValueError, match="show no weights"):
        net.forward_with_attention(torch.randn(1, 12, 9))
    given = {"image_size": 16, **BODY, "attention": "lsh"}
    with pytest.raises(ValueError, match="adapters have no place in it"):
        create_model("adapted", base="cct", options=given, image_size=16)


@pytest.mark.fault
def test_official_codes_have_no_other_attention() -> None:
    published = {"pooling": "both", "patch_size": 16, "stride": 10}  # AST's
    for name, words, given in (
        ("cct", "CCT has no attention='lsh'", {}),
        ("ast", "AST", published),
    ):
        net = create_model(name, **MODELS[name][0] | given | {"attention": "lsh"})
        with pytest.raises(ValueError, match=words):
            find("official", name).describe(net)
