"""Hiformer: the literal formulas, published sizes, gradients, precisions, compilers, faults."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from surform import create_model
from surform.recommenders.projections import LowRank
from surform.recommenders.token_maps import TokenFeedForward, TokenMaps
from tests.recommenders.literal_hiformer import literal_logits
from tests.recommenders.networks import SMALL, hiformer, inputs

KINDS = ("shared", "feature", "composite", "lowrank")
NORMS = ("post", "pre", "none")
PUBLISHED: dict[str, Any] = {
    "vocab_sizes": (1,) * 31, "dense_features": 30, "dense_tokens": 6, "dense_hidden": 768,
    "dim": 128, "heads": 4, "key_dim": 16, "value_dim": 64, "key_rank": 128, "value_rank": 1024,
}  # fmt: skip


def size(net: torch.nn.Module) -> int:
    """Parameters without embedding tables."""
    return sum(p.numel() for name, p in net.named_parameters() if name != "features.table")


@pytest.mark.parametrize(
    ("kind", "norm", "prune", "depth"),
    [
        (k, n, p, 2 if n == "pre" else 1)
        for k, n, p in itertools.product(KINDS, NORMS, (True, False))
    ],
)
def test_it_is_the_literal_formula(kind, norm, prune, depth) -> None:
    options = {"attention": kind, "norm": norm, "prune_last": prune, "depth": depth}
    if norm == "none":
        options |= {"positions": True, "tower": (7,), "deep": (9, 5)}
    net, given = hiformer(**options), inputs()
    ours, theirs = net(**given), literal_logits(net, **given)
    assert torch.allclose(ours, theirs, rtol=1e-11, atol=1e-11)
    cotangent = torch.randn_like(ours)
    found = torch.autograd.grad(ours, list(net.parameters()), cotangent, allow_unused=True)
    expected = torch.autograd.grad(theirs, list(net.parameters()), cotangent, allow_unused=True)
    for a, b, (name, p) in zip(found, expected, net.named_parameters(), strict=True):
        a, b = (torch.zeros_like(p) if x is None else x for x in (a, b))
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        ({"attention": "feature"}, 2.36),
        ({"attention": "feature", "depth": 2}, 10.50),
        ({}, 16.68),
        ({"attention": "composite"}, 59.95),
    ],
)
def test_parameters_are_as_many_as_published(options: dict[str, Any], millions: float) -> None:
    with torch.device("meta"):
        net = create_model("hiformer", **PUBLISHED | options)
    assert net.tokens == 38
    assert size(net) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("kind", ["shared", "feature"])
def test_pruning_changes_nothing_where_each_token_asks_alone(kind: str) -> None:
    whole = hiformer(attention=kind, prune_last=False)
    pruned = hiformer(attention=kind)
    state, tasks = whole.state_dict(), pruned.tasks
    qkv, own = whole.layers[0].maps["qkv"], pruned.state_dict()
    for name, parts in (("weight", -1), ("bias", -1)):
        value = getattr(qkv, name)
        value = value.T if kind == "shared" and name == "weight" else value
        q, k, v = value.unflatten(parts, (2, -1)).split(qkv.widths, parts)
        joined = {"q": q.flatten(-2), "kv": torch.cat((k, v), -1).flatten(-2)}
        for letters, each in joined.items():
            each = each[-tasks:] if letters == "q" and kind == "feature" else each
            turned = each.T if kind == "shared" and name == "weight" else each
            own[f"layers.0.maps.{letters}.{name}"] = turned
    for name, value in state.items():
        if name in own:
            rows = kind == "feature" and name.startswith(("layers.0.after.o", "layers.0.after.f"))
            own[name] = value[-tasks:] if rows else value
    pruned.load_state_dict(own)
    assert torch.allclose(pruned(**inputs()), whole(**inputs()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batched_maps_have_the_gradients_of_the_plain_expression(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    maps, block = TokenMaps(3, 4, 5).to(dtype), TokenFeedForward(3, 4, 6).to(dtype)
    x = torch.randn(4, 3, 4, dtype=dtype).transpose(0, 1).requires_grad_()  # strided, as in use
    for module in (maps, block):
        leaves = [x, *module.parameters()]
        found = torch.autograd.grad(module(x).square().sum(), leaves)
        with torch.autocast("cpu", enabled=False):
            plain = _plain(module, x)
        expected = torch.autograd.grad(plain.square().sum(), leaves)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-12)


def _plain(module: Any, x: Tensor) -> Tensor:
    if isinstance(module, TokenMaps):
        return torch.einsum("nbi,nio->nbo", x, module.weight) + module.bias[:, None]
    hidden = torch.nn.functional.gelu(_plain(module.up, x))
    return _plain(module.down, hidden)


def test_batched_maps_can_be_differentiated_twice() -> None:
    maps, block = TokenMaps(2, 3, 2).double(), TokenFeedForward(2, 3, 4).double()
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    for module in (maps, block):
        parameters = tuple(module.parameters())
        torch.autograd.gradcheck(lambda *p, m=module: m(p[0]), (x, *parameters))
        torch.autograd.gradgradcheck(lambda *p, m=module: m(p[0]), (x, *parameters))


@pytest.mark.parametrize("kind", KINDS)
def test_attention_maps_are_shares(kind: str) -> None:
    net, given = hiformer(attention=kind, depth=2), inputs()
    logits, (inner, last) = net.forward_with_attention(**given)
    assert torch.equal(logits, net(**given))
    assert inner.shape == (4, 2, 8, 8)
    assert last.shape == (4, 2, 2, 8)
    assert torch.allclose(last.sum(-1), torch.ones(4, 2, 2, dtype=torch.float64))


def test_dropout_acts_in_training_only() -> None:
    net, given = hiformer(dropout=0.5, deep=(8,)), inputs()
    assert torch.equal(net(**given), net(**given))
    net.train()
    assert not torch.equal(net(**given), net(**given))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_stays_close(kind: str) -> None:
    net, given = hiformer(torch.float32, attention=kind), inputs(dtype=torch.float32)
    expected = net(**given)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(**given)
    half = net.to(torch.bfloat16)(**given | {"dense": given["dense"].bfloat16()})
    for found in (mixed, half):
        assert (found.float() - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("kind", ["feature", "lowrank"])
def test_it_compiles_without_graph_breaks(kind: str) -> None:
    net, given = hiformer(torch.float32, attention=kind), inputs(dtype=torch.float32)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(**given), net(**given), atol=1e-5)


def test_ids_may_be_32_bits_wide() -> None:
    net, given = hiformer(), inputs()
    narrow = {name: value.int() for name, value in given.items() if name != "dense"}
    assert torch.equal(net(**given | narrow), net(**given))


def test_no_rows_give_no_logits() -> None:
    nothing = {name: value[:0] for name, value in inputs().items()}
    assert hiformer()(**nothing).shape == (0, 2)


def test_one_kind_of_feature_is_enough() -> None:
    ids = torch.zeros(2, 0, dtype=torch.int64)
    single = create_model("hiformer", vocab_sizes=(4,))
    assert single(torch.tensor([[1], [3]])).shape == (2, 1)
    numbers = create_model("hiformer", vocab_sizes=(), dense_features=3, dense_tokens=1)
    assert numbers(ids, torch.randn(2, 3)).shape == (2, 1)
    lists = create_model("hiformer", vocab_sizes=(), multi_vocab_sizes=(3,))
    lengths = torch.tensor([[2], [0]])
    assert lists(ids, None, torch.tensor([0, 2]), lengths).shape == (2, 1)


def test_all_heads_share_one_pair_of_factors() -> None:
    """Hiformer's ranks do not grow with the heads."""
    v = hiformer(heads=2).layers[0].maps["v"]
    assert isinstance(v, LowRank)
    assert tuple(v.left.shape) == (8 * 6, 6)
    assert tuple(v.right.shape) == (2 * 8 * 5, 6)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attention": "lowrnk"}, r"attention is 'lowrnk', .* did you mean 'lowrank'"),
        ({"norm": "rms"}, "norm is 'rms', but must be one of"),
        ({"heads": 0}, "heads is 0, but must be a whole number >= 1"),
        ({"key_rank": 0}, "key_rank is 0, but must be a whole number >= 1"),
        ({"mlp_ratio": 0.01}, "mlp_ratio is 0.01, but dim \\* mlp_ratio must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0, but must lie in"),
        ({"vocab_sizes": (5, 0)}, r"vocab_sizes\[1\] is 0, but must be a whole number >= 1"),
        ({"dense_tokens": 0}, "dense_features is 3 and dense_tokens is 0, but numbers need tokens"),
        ({"tower": (0,)}, r"tower\[0\] is 0"),
        (
            {"vocab_sizes": (), "multi_vocab_sizes": (), "dense_features": 0, "dense_tokens": 0},
            "give some fea",
        ),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        create_model("hiformer", **SMALL | options)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "categorical",
            torch.zeros(4, 3, dtype=torch.int64),
            r"\(4, 3\), but must be \(batch, 2\)",
        ),
        ("categorical", torch.zeros(4, 2), "categorical is torch.float32, but must be int64"),
        ("categorical", torch.tensor([[0, 0]] * 3 + [[0, 3]]), "sample 3 has the id 3 of the .* 1"),
        ("categorical", torch.tensor([[-1, 0]] * 4), "the id -1 .* which has the ids 0 to 4"),
        ("dense", None, "dense is missing: the network takes 3 numbers per sample"),
        ("dense", torch.zeros(4, 2), r"dense has shape \(4, 2\), but must be \(4, 3\)"),
        ("dense", torch.zeros(4, 3, dtype=torch.int64), "dense is torch.int64"),
        ("dense", torch.tensor([[0, float("nan"), 0]] * 4), "sample 0 has nan as dense number 1"),
        ("values", None, "values and lengths of 2 multi-valued features are missing"),
        ("lengths", torch.zeros(4, 1, dtype=torch.int64), r"must be \(4, 2\): how many values"),
        ("lengths", torch.zeros(4, 2, dtype=torch.int64), "lengths add up to 0, but there are"),
        ("lengths", torch.full((4, 2), -1), "lengths holds -1, but lengths are 0 or more"),
        ("values", torch.zeros(2, 2, dtype=torch.int64), "must be one row of ids"),
        (
            "lengths",
            torch.zeros(3, 2, dtype=torch.int64),
            r"has shape \(3, 2\), but must be \(4, 2\)",
        ),
    ],
)
def test_inputs_that_do_not_fit(name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hiformer(torch.float32)(**inputs(dtype=torch.float32) | {name: value})


@pytest.mark.fault
@pytest.mark.parametrize("name", ["hiformer", "autoint", "dcn_v2", "logistic_regression"])
def test_inputs_that_nothing_asks_for(name: str) -> None:
    given = inputs(dtype=torch.float32)
    net, dense = create_model(name, vocab_sizes=(5, 3)), {"dense": given.pop("dense")}
    with pytest.raises(ValueError, match="values are given, but the network has no multi-valued"):
        net(**given)
    with pytest.raises(ValueError, match=r"dense has shape \(4, 3\), but the network takes none"):
        net(given["categorical"], **dense)
    lists = create_model(name, vocab_sizes=(), multi_vocab_sizes=(4, 6))
    with pytest.raises(ValueError, match=r"categorical has shape \(4, 2\), but must be \(batch, 0"):
        lists(**given)


@pytest.mark.fault
def test_an_unknown_id_in_a_list() -> None:
    given = inputs()
    given["values"][-1] = 9
    with pytest.raises(ValueError, match="has the id 9 of the multi-valued feature 1, which has"):
        hiformer()(**given)
