"""Baselines in the shape of Hiformer: formulas, counting, learning, wrong arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from surform import create_model
from tests.recommenders.networks import drawn, inputs

FEATURES: dict[str, Any] = {
    "vocab_sizes": (5, 3), "multi_vocab_sizes": (4, 6), "dense_features": 3, "tasks": 2,
}  # fmt: skip
NETS: dict[str, dict[str, Any]] = {
    "autoint": {"dense_tokens": 2, "width": 8, "deep": (6,)},
    "dcn_v2": {"dense_tokens": 2, "deep": (6,)},
    "dlrm": {"top": (6,)},
    "logistic_regression": {},
    "hiformer": {"dense_tokens": 2},
}


@pytest.mark.parametrize("name", NETS)
def test_each_learns_what_one_feature_tells(name: str) -> None:
    torch.manual_seed(0)
    net = create_model(name, **FEATURES | NETS[name])
    given = inputs(128, torch.float32)
    labels = (given["categorical"] > torch.tensor([2, 1])).float()
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(120):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(**given), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_dlrm_multiplies_every_pair_once() -> None:
    net, given = drawn(create_model("dlrm", **FEATURES, top=())), inputs()
    x = net.features(**given)
    pairs = [(x[:, i] * x[:, j]).sum(-1) for i in range(5) for j in range(i)]
    flat = torch.cat((x[:, -1], torch.stack(pairs, 1)), 1)
    assert torch.allclose(net(**given), net.top(flat))


def test_logistic_regression_adds_weights() -> None:
    net, given = drawn(create_model("logistic_regression", **FEATURES)), inputs()
    table, ids = net.weights.table, given["categorical"]
    expected = net.bias + table[ids[:, 0]] + table[5 + ids[:, 1]] + net.numbers(given["dense"])
    alone = given | {"values": given["values"][:0], "lengths": torch.zeros_like(given["lengths"])}
    assert torch.allclose(net(**alone), expected)


def test_popularity_is_a_smoothed_share() -> None:
    net = create_model("popularity", vocab_sizes=(4, 3), feature=1, prior=2.0)
    ids = torch.tensor([[0, 1], [3, 1], [2, 2]])
    net.observe(ids, torch.tensor([[1.0], [1.0], [0.0]]))
    average = (2 + 0.5) / (3 + 1)
    expected = torch.tensor([(2 + 2 * average) / 4, (2 * average) / 3, average])
    found = net(torch.tensor([[0, 1], [0, 2], [0, 0]])).sigmoid().squeeze(1)
    assert torch.allclose(found, expected)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("autoint", {"width": 7, "dense_tokens": 1}, "heads is 2, but must divide the layer's"),
        ("popularity", {"feature": 2}, "feature is 2, but must be the number of one of 2"),
        ("popularity", {"prior": 0.0}, "prior is 0.0, but must be above 0"),
        (
            "dlrm",
            {"vocab_sizes": (3,), "multi_vocab_sizes": (), "dense_features": 0},
            "give at least two",
        ),
        (
            "logistic_regression",
            {"vocab_sizes": (), "multi_vocab_sizes": (), "dense_features": 0},
            "some feat",
        ),
        ("dcn_v2", {"depth": 0, "dense_tokens": 1}, "depth is 0"),
    ],
)
def test_arguments_that_cannot_be(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        create_model(name, **FEATURES | options)


def test_popularity_does_not_count_what_is_unknown() -> None:
    net, nan = create_model("popularity", vocab_sizes=(3,), tasks=2, prior=2.0), float("nan")
    net.observe(torch.tensor([[0], [0], [1]]), torch.tensor([[1.0, nan], [nan, 0.0], [0.0, 1.0]]))
    alone = create_model("popularity", vocab_sizes=(3,), prior=2.0)
    alone.observe(torch.tensor([[0], [1]]), torch.tensor([[1.0], [0.0]]))
    ids = torch.tensor([[0], [1], [2]])
    assert torch.allclose(net(ids)[:, :1], alone(ids))
    assert net(ids)[0, 1] < net(ids)[2, 1] < net(ids)[1, 1]


@pytest.mark.fault
def test_labels_of_another_shape_are_not_counted() -> None:
    net = create_model("popularity", vocab_sizes=(4,))
    with pytest.raises(ValueError, match="row 1 has the label 3 of task 0, but labels are 0 or 1"):
        net.observe(torch.tensor([[0], [1]]), torch.tensor([[1.0], [3.0]]))
    with pytest.raises(ValueError, match=r"labels has shape \(2,\), but must be \(2, 1\)"):
        net.observe(torch.tensor([[0], [1]]), torch.ones(2))
