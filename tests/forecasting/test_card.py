"""CARD: the literal formulas, quirks and their options, tasks, precisions, compilers."""

from __future__ import annotations

import copy
import importlib
import math

import pytest
import torch
from torch import Tensor

from surform.cli.fit_config import read_config
from surform.forecasting.card import Card
from surform.forecasting.card_attention import blend
from surform.forecasting.card_smoothing import Smoothing, smoothing_matrix
from surform.recipes import list_recipes
from surform.registry import create_model
from surform.training.losses import SignalDecay
from surform.training.schedules import CosineEpochs
from tests.forecasting.literal_card import literal_forward

SIZES = [
    pytest.param(5, {}, id="few variates"),
    pytest.param(14, {"rank": 3, "heads": 4, "dim": 16}, id="more variates than tokens"),
    pytest.param(9, {"smooth_all_variates": True}, id="all variates smoothed"),
    pytest.param(3, {"rank": 9, "merge": 1}, id="more summaries than tokens"),
    pytest.param(1, {"statistic_token": True}, id="one variate"),
    pytest.param(6, {"statistic_token": True, "heads": 8, "merge": 4, "dim": 32}, id="merge 4"),
    pytest.param(4, {"num_classes": 3, "variates": 4}, id="classes"),
    pytest.param(4, {"lookback": 27, "stride": 5, "smoothing": 0.3}, id="a rest of the history"),
]


def model(**options) -> Card:
    """Small, with weights and statistics that all matter."""
    torch.manual_seed(0)
    sizes = {"lookback": 24, "horizon": 12, "patch_size": 8, "stride": 4, "dim": 8}
    net = Card(**(sizes | options))
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
        for name, value in net.named_buffers():
            if "running" in name:
                value.add_(0.5 * torch.rand_like(value))
    return net


def history(variates: int = 5, batch: int = 3, lookback: int = 24) -> Tensor:
    torch.manual_seed(1)
    return 2 * torch.randn(batch, lookback, variates) + 3


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("variates", "options"), SIZES)
def test_it_is_the_literal_formula(variates: int, options: dict, training: bool):
    net = model(**options, dropout=0.0).double().train(training)
    twin = copy.deepcopy(net)
    x = history(variates, lookback=net.lookback).double().requires_grad_()
    ours, theirs = net(x), literal_forward(twin, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for name, value in net.named_buffers():  # the running statistics moved alike
        torch.testing.assert_close(value, twin.get_buffer(name), rtol=1e-10, atol=1e-12)
    ours.square().sum().backward()
    given, x.grad = x.grad, None
    theirs.square().sum().backward()
    pairs = [(p.grad, twin.get_parameter(name).grad) for name, p in net.named_parameters()]
    for a, b in [(given, x.grad), *pairs]:
        assert a is not None
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9 * (1 + b.abs().max().item()))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("variates", "options"), SIZES)
def test_the_fast_path_of_float32_is_the_literal_formula(
    variates: int, options: dict, training: bool
):
    net = model(**options, dropout=0.0).train(training)
    x = history(variates, batch=20, lookback=net.lookback)
    theirs = literal_forward(copy.deepcopy(net).double(), x.double())
    assert (net(x) - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_dropout_drops_in_training_only_and_keeps_the_mean():
    net = model(dropout=0.3)
    x = history(batch=8)
    torch.manual_seed(2)
    draws = torch.stack([net.train()(x).detach() for _ in range(30)])
    assert draws.std(0).min() > 0
    net.eval()
    assert torch.equal(net(x), net(x))


def test_blending_deals_out_the_flat_list_of_vectors():
    b, h, s, e, g = 2, 4, 5, 3, 2
    x = torch.randn(b, h, s, e)
    flat = x.reshape(b, h * s, e)
    for p in range(s):
        parts = [flat[:, c * s * g + p * g + i] for i in range(g) for c in range(h // g)]
        assert torch.equal(blend(x, g)[:, p], torch.cat(parts, dim=-1))
    assert torch.equal(blend(x, 1), x.transpose(1, 2).flatten(2))


def test_smoothing_is_the_recursion():
    x = torch.randn(3, 7, 2, dtype=torch.float64)
    y = [x[:, 0]]
    for i in range(1, 7):
        y.append(0.7 * y[-1] + 0.3 * x[:, i])
    expected = torch.stack(y, dim=1)
    for size, everywhere in ((7, False), (9, False), (4, True)):
        found = Smoothing(size, 0.3, everywhere).double()(x)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    cut = Smoothing(4, 0.3).double()(x)
    torch.testing.assert_close(cut[:, :4], expected[:, :4], rtol=1e-6, atol=1e-7)
    assert not cut[:, 4:].any()
    assert smoothing_matrix(1, 0.3).tolist() == [[1.0]]


def test_variates_beyond_the_tokens_attend_to_all_summaries_alike_unless_corrected():
    """Six tokens: the queries of the seventh and later variates are zero as published."""
    official = model(rank=4).eval()
    corrected = model(rank=4, smooth_all_variates=True).eval()
    few, many = history(6), history(12)
    torch.testing.assert_close(official(few), corrected(few))
    assert (official(many) - corrected(many)).abs().max() > 1e-3


def test_any_number_of_variates_goes_but_their_order_matters():
    net = model().eval()
    assert net(history(1)).shape == (3, 12, 1)
    x = history(6)
    assert net(x).shape == (3, 12, 6)
    assert (net(x.flip(-1)).flip(-1) - net(x)).abs().max() > 1e-3


def test_windows_do_not_see_each_other_in_evaluation():
    net, x = model().double().eval(), history(batch=6).double()
    torch.testing.assert_close(net(x[2:4]), net(x)[2:4], rtol=1e-9, atol=1e-9)


def test_a_shifted_and_scaled_history_shifts_and_scales_the_forecast():
    net, x = model().double().eval(), 100 * history().double()
    torch.testing.assert_close(net(3 * x + 7), 3 * net(x) + 7, rtol=1e-4, atol=1e-2)


def test_what_is_not_observed_does_not_matter_unless_asked_for():
    net = model(horizon=24).double().eval()
    legacy = model(horizon=24, legacy_mask=True).double().eval()
    x = history().double()
    observed = torch.rand(x.shape) > 0.3
    spoilt = torch.where(observed, x, 50.0)
    holes = torch.where(observed, x, math.nan)
    filled = net(x, observed=observed)
    torch.testing.assert_close(net(spoilt, observed=observed), filled)
    torch.testing.assert_close(net(holes, observed=observed), filled)
    zeroed = torch.where(observed, x, 0.0)
    torch.testing.assert_close(legacy(zeroed, observed=observed), filled)
    assert (legacy(spoilt, observed=observed) - filled).abs().max() > 1e-3
    for one, y in ((net, spoilt), (legacy, spoilt)):
        torch.testing.assert_close(one(y, observed=observed), literal_forward(one, y, observed))
    never = observed & (torch.arange(5) != 2)
    assert net(x, observed=never).isfinite().all()


@pytest.mark.parametrize(
    ("options", "count"),
    [
        # the official 33,536 and 980,384, less what they never use
        ({}, 32_112),
        ({"dim": 128, "heads": 16}, 913_664),
    ],
)
def test_the_published_sizes(options: dict, count: int):
    assert sum(p.numel() for p in create_model("card", **options).parameters()) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 10, "heads": 4}, "dim 10 must be a multiple of heads 4"),
        ({"heads": 4, "merge": 3}, "heads 4 must be a multiple of merge 3"),
        ({"patch_size": 100}, "patch_size 100 is longer than the lookback 96"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"smoothing": -0.1}, "smoothing is -0.1"),
        ({"momentum": 1.5}, "momentum is 1.5"),
        ({"mlp_ratio": 0.0}, "mlp_ratio 0.0"),
        ({"rank": 0}, "rank is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"num_classes": 3}, "variates is None"),
    ],
)
def test_impossible_arguments_are_refused(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Card(**options)


def test_smoothing_and_momentum_may_be_zero():
    net = model(smoothing=0.0, momentum=0.0, dropout=0.0).double().train()
    x = torch.randn(4, 24, 5, dtype=torch.float64)
    before = {name: value.clone() for name, value in net.named_buffers() if "running" in name}
    torch.testing.assert_close(net(x), literal_forward(net, x))
    after = dict(net.named_buffers())
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_impossible_inputs_are_refused():
    net = model()
    with pytest.raises(ValueError, match=r"expected \(batch, 24, variates\)"):
        net(torch.randn(2, 25, 5))
    with pytest.raises(ValueError, match="expected bool"):
        net(history(), observed=torch.ones(3, 24, 5))
    with pytest.raises(ValueError, match="history has 5 variates, the classifier 4"):
        model(num_classes=2, variates=4)(history(5))


@pytest.mark.parametrize("training", [False, True])
def test_bfloat16_autocast_stays_close_and_trains(training: bool):
    torch.manual_seed(0)
    net = Card(24, 12, patch_size=8, stride=4, dim=8, dropout=0.0).train(training)
    x = history(batch=16)
    exact = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(x)
    assert (out - exact).abs().max() <= 0.05 * exact.abs().max()
    out.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_it_compiles_to_one_graph():
    net, x = model(dropout=0.0, depth=1).eval(), history()
    torch.compiler.reset()
    out = torch.compile(net, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(out, net(x), rtol=1e-4, atol=1e-4)
    out.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("variates", [5, 12])
def test_it_exports_for_any_batch(variates: int):
    net, batch = model(dropout=0.0, depth=1).eval(), torch.export.Dim("b", min=2)
    program = torch.export.export(net, (history(variates),), dynamic_shapes={"history": {0: batch}})
    other = history(variates, batch=7)
    torch.testing.assert_close(program.module()(other), net(other), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith("forecasting/card-")])
def test_recipes_build_what_their_data_need(name: str):
    config = read_config(name)
    task, data = config["model"]["init_args"], config["data"]["init_args"]
    assert task["net"]["class_path"] == "surform.forecasting.card.Card"
    with torch.device("meta"):
        net = Card(**task["net"]["init_args"])
    assert (net.lookback, net.horizon) == (data["lookback"], data["horizon"])
    for part in ("loss", "schedule"):
        module, _, cls = task[part]["class_path"].rpartition(".")
        made = getattr(importlib.import_module(module), cls)(**task[part].get("init_args", {}))
        assert isinstance(made, (SignalDecay, CosineEpochs))
