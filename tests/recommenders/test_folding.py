"""Folded Hiformers: the same outputs, saved and loaded, less work."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from surform import create_model
from surform.recommenders.folding import fold
from tests.recommenders.networks import hiformer, inputs

KINDS = ("shared", "feature", "composite", "lowrank")


@pytest.mark.parametrize(
    ("kind", "norm", "more"), list(itertools.product(KINDS, ("post", "pre", "none"), (False, True)))
)
def test_a_folded_network_gives_the_same_logits(kind: str, norm: str, more: bool) -> None:
    options: dict[str, Any] = {"attention": kind, "norm": norm}
    if more:
        options |= {"positions": True, "tower": (7,), "deep": (9, 5)}
    net, given = hiformer(**options), inputs(32)
    folded = fold(net)
    assert torch.allclose(folded(**given), net(**given), rtol=1e-12, atol=1e-12)
    single, rows = fold(net.float()), given | {"dense": given["dense"].float()}
    assert (single(**rows) - net(**rows)).abs().max() < 1e-5 * net(**rows).abs().max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize(
    "features",
    [
        {"multi_vocab_sizes": (), "dense_features": 0, "dense_tokens": 0},
        {"vocab_sizes": (), "dense_features": 0, "dense_tokens": 0},
        {"vocab_sizes": (), "multi_vocab_sizes": ()},
    ],
)
def test_any_kind_of_feature_folds_alone(kind: str, norm: str, features: dict[str, Any]) -> None:
    net, given = hiformer(attention=kind, norm=norm, **features), inputs()
    if "vocab_sizes" in features:
        given["categorical"] = given["categorical"][:, :0]
    if "multi_vocab_sizes" in features:
        given |= {"values": None, "lengths": None}
    if "dense_features" in features:
        given["dense"] = None
    assert torch.allclose(fold(net)(**given), net(**given), rtol=1e-12, atol=1e-12)


def test_tables_fold_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    net, given = hiformer(norm="pre", positions=True), inputs()
    monkeypatch.setattr("surform.recommenders.folding._ROWS", 2)
    assert torch.allclose(fold(net)(**given), net(**given), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_tables_stay_close(kind: str, dtype: Any) -> None:
    """Also of networks whose own tables are narrow, and in compiled programs."""
    net = hiformer(torch.float32, attention=kind, table_dtype="bfloat16")
    given = inputs(32, torch.float32)
    folded, expected = fold(net, dtype), net(**given)
    rows = folded.rows
    assert rows is not None
    assert rows.table.dtype == getattr(torch, dtype)
    assert folded.constant.dtype == torch.float32
    assert 0 < (folded(**given) - expected).abs().max() < 0.03 * expected.abs().max()
    compiled = torch.compile(folded, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(**given), folded(**given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_stays_close(kind: str) -> None:
    net, given = hiformer(torch.float32, attention=kind), inputs(32, torch.float32)
    folded, expected = fold(net), net(**given)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = folded(**given)
    half = folded.to(torch.bfloat16)(**given | {"dense": given["dense"].bfloat16()})
    for found in (mixed, half):
        assert (found.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_folding_leaves_the_network_alone_and_follows_its_dtype() -> None:
    net = hiformer(torch.float32)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    folded = fold(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert folded.constant.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_a_folded_network_is_built_again_from_its_arguments() -> None:
    folded = fold(hiformer())
    again = create_model("folded_hiformer", **folded.arguments).double()
    again.load_state_dict(folded.state_dict())
    assert torch.equal(again(**inputs()), folded(**inputs()))


@pytest.mark.fault
@pytest.mark.parametrize("options", [{"depth": 2}, {"prune_last": False}])
def test_networks_that_do_not_fold(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="only networks of one pruned layer fold"):
        fold(hiformer(**options))


@pytest.mark.fault
def test_a_folded_network_refuses_the_same_inputs() -> None:
    folded, given = fold(hiformer()), inputs()
    with pytest.raises(ValueError, match="sample 0 has the id 5 of the categorical feature 0"):
        folded(**given | {"categorical": torch.full((4, 2), 5)})
    with pytest.raises(ValueError, match="dense is missing"):
        folded(**given | {"dense": None})
