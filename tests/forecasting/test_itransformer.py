"""iTransformer: official numbers, literal formulas, tokens, symmetries, precisions, compilers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from surform import attention
from surform.forecasting.itransformer import ITransformer
from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, verify_case
from surform.registry import create_model
from tests.forecasting.literal_itransformer import literal_forward

GOLDEN = Path(__file__).parents[1] / "golden" / "itransformer"
SMALL = {"lookback": 12, "horizon": 7, "dim": 16, "heads": 4}
KINDS = pytest.mark.parametrize("kind", ["softmax", "flow"])


def model(**options) -> ITransformer:
    torch.manual_seed(0)
    return ITransformer(**SMALL | options)


def history(batch: int = 3, variates: int = 5, **options) -> Tensor:
    return 2 * torch.randn(batch, 12, variates, **options) + 3


def covariates(batch: int = 3) -> dict[str, Tensor]:
    """For known = 2, static = 3, beside four marks."""
    return {
        "past_marks": torch.rand(batch, 12, 4) - 0.5,
        "known": torch.randn(batch, 19, 2),
        "static": torch.randn(batch, 3),
    }


def full(**options) -> ITransformer:
    return model(known=2, static=3, **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", find_cases([GOLDEN]), ids=lambda path: path.stem)
def test_official_numbers(case: Path, dtype: torch.dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.passed, report.problem or report.worst


@KINDS
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("marks", [0, 4])
@pytest.mark.parametrize("options", [{}, {"activation": "relu", "mlp_ratio": 2.5, "heads": 3}])
def test_it_is_the_literal_formula(kind, normalize, marks, options):
    net = model(attention=kind, normalize=normalize, **options).double().eval()
    x = history().double().requires_grad_()
    m = torch.rand(3, 12, marks).double() if marks else None
    ours, theirs = net(x, past_marks=m), literal_forward(net, x, m)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)
    leaves = [x, *net.parameters()]
    found = [torch.autograd.grad(y.square().sum(), leaves) for y in (ours, theirs)]
    for a, b in zip(*found, strict=True):  # the history's gradient among them
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * b.abs().max().item() + 1e-12)
    with torch.no_grad():
        torch.testing.assert_close(net(x, past_marks=m), theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_series_are_projected_at_once_where_that_costs_less(training, dropout, monkeypatch):
    net = model(dim=40, heads=2, dropout=dropout).double().train(training)
    x = history(40).double()
    merged: list[bool] = []
    first = net._first_layer
    monkeypatch.setattr(net, "_first_layer", lambda *of: merged.append(True) or first(*of))
    ours = net(x)
    assert bool(merged) == (not training or dropout == 0)
    if merged:
        theirs = literal_forward(net.eval(), x, None)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)
        found = [torch.autograd.grad(y.square().sum(), [*net.parameters()]) for y in (ours, theirs)]
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * b.abs().max().item() + 1e-12)


def test_an_adapter_in_place_of_a_projection_is_not_passed_by():
    class Adapter(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.weight, self.bias = base, base.weight, base.bias

        def forward(self, x):
            return self.base(x) + 1 + x.sum(-1, keepdim=True)

    net, x = model(dim=40, heads=2).eval(), history(40)
    net.layers[0].attention.qkv = Adapter(net.layers[0].attention.qkv)
    theirs, _ = net.forward_with_attention(x)
    torch.testing.assert_close(net(x), theirs)


@pytest.mark.parametrize(
    ("options", "count"),
    [({"dim": 256}, 841_568), ({"dim": 512, "depth": 3}, 4_833_888)],
)
def test_published_sizes_have_the_published_number_of_parameters(options, count):
    net = ITransformer(**options)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@KINDS
def test_the_order_of_variates_does_not_matter(kind):
    net, x, more = full(attention=kind).double().eval(), history().double(), covariates()
    more = {name: value.double() for name, value in more.items()}
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(net(x[..., order], **more), net(x, **more)[..., order])
    shuffled = more | {"past_marks": more["past_marks"].flip(-1)}
    torch.testing.assert_close(net(x, **shuffled), net(x, **more))  # marks: a set of tokens, too
    for name in ("known", "static"):  # these know what they stand for
        shuffled = more | {name: more[name].flip(-1)}
        assert not torch.allclose(net(x, **shuffled), net(x, **more))


@KINDS
def test_a_trained_network_takes_other_numbers_of_variates(kind):
    net, more = full(attention=kind), covariates()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    net(history(), **more).square().mean().backward()
    optimizer.step()
    for variates in (1, 2, 9):
        assert net.eval()(history(3, variates), **more).shape == (3, 7, variates)


@pytest.mark.parametrize("name", ["past_marks", "known", "static"])
def test_every_covariate_is_used(name):
    net, x, more = full().eval(), history(), covariates()
    usual = net(x, **more)
    for i in range(more[name].shape[-1]):
        changed = more[name].clone()
        changed[..., i] += torch.randn(changed.shape[:-1])
        assert not torch.allclose(net(x, **more | {name: changed}), usual)


def test_what_is_known_ahead_reaches_the_forecast():
    """A forecast that depends on the covariate's future only can be learned."""
    torch.manual_seed(0)
    net = model(known=1, dropout=0.0, depth=1, normalize=False)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    errors = []
    for _ in range(150):
        x, ahead = torch.randn(32, 12, 2), torch.randn(32, 19, 1)
        loss = (net(x, known=ahead) - ahead[:, 12:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert sum(errors[-10:]) / 10 < 0.3 < errors[0]


def test_level_and_spread_of_a_series_carry_over():
    net, x = model().double().eval(), history().double()
    x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True) * 30  # beyond the variance's 1e-5
    torch.testing.assert_close(net(4 * x - 50), 4 * net(x) - 50, rtol=1e-5, atol=1e-5)
    constant = net(torch.full((1, 12, 3), 7.0).double())
    assert constant.isfinite().all()


def test_the_mean_is_a_constant_for_the_gradient_and_the_deviation_is_not():
    net = model(depth=1).double().eval()
    x = history(1, 2).double().requires_grad_()
    (found,) = torch.autograd.grad(net(x).sum(), x)
    centred = (x - x.mean(1, keepdim=True).detach()).detach().requires_grad_()
    deviation = (centred.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    tokens = net.embedding((centred / deviation).transpose(1, 2))
    y = net.head(net.norm(net.layers[0](tokens))).transpose(1, 2) * deviation
    (expected,) = torch.autograd.grad(y.sum(), centred)
    torch.testing.assert_close(found, expected)


@KINDS
def test_attention_maps_explain_the_forecast(kind):
    net, x, more = full(attention=kind).double().eval(), history().double(), covariates()
    more = {name: value.double() for name, value in more.items()}
    y, maps = net.forward_with_attention(x, **more)
    torch.testing.assert_close(y, net(x, **more))
    tokens = 5 + 4 + 2 + 3
    assert [weights.shape for weights in maps] == [(3, 4, tokens, tokens)] * 2
    assert all((weights >= 0).all() for weights in maps)
    if kind == "softmax":
        torch.testing.assert_close(maps[0].sum(-1), torch.ones(3, 4, tokens).double())


def test_dropout_acts_in_training_only():
    net, x = model(dropout=0.5), history()
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_samples_do_not_see_each_other():
    net, x = model().double().eval(), history().double()
    torch.testing.assert_close(net(x[1:2]), net(x)[1:2])
    assert net(x[:0]).shape == (0, 7, 5)


@KINDS
def test_bfloat16_stays_close_and_trains(kind):
    net, x, more = full(attention=kind, dropout=0.0), history(), covariates()
    exact = net(x, **more)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(x, **more)
        out.square().mean().backward()
    assert (out - exact).abs().max() <= 0.05 * exact.abs().max()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    half = net.bfloat16()(x.bfloat16(), **{k: v.bfloat16() for k, v in more.items()})
    assert half.dtype == torch.bfloat16
    assert (half - exact).norm() <= 0.05 * exact.norm()


@KINDS
def test_compiles_in_one_graph_and_exports_to_plain_operations(kind):
    torch.compiler.reset()
    net, x, more = full(attention=kind, depth=1).eval(), history(), covariates()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, **more), net(x, **more), rtol=1e-4, atol=1e-5)
    compiled(x, **more).sum().backward()
    assert net.embedding.weight.grad is not None
    shapes = {"history": {2: torch.export.Dim("variates", min=2, max=512)}}
    shapes |= dict.fromkeys(more)
    program = torch.export.export(net, (x,), more, dynamic_shapes=shapes)
    assert not [n for n in program.graph.nodes if "surform" in str(n.target)]
    wider = history(3, 9)
    torch.testing.assert_close(program.module()(wider, **more), net(wider, **more))


def test_a_compiled_network_trains():
    torch.compiler.reset()
    net = model(dim=32, depth=1, dropout=0.3)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    compiled(history(2, 40)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_second_derivatives_exist():
    net, x = model(depth=1).double().eval(), history(1, 3).double().requires_grad_()
    with attention.use(second_order=True):
        (first,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()


def test_arguments_rebuild_the_network():
    net = full(attention="flow", mlp_ratio=0.5)
    twin = create_model("itransformer", **net.arguments)
    twin.load_state_dict(net.state_dict())
    x, more = history(), covariates()
    torch.testing.assert_close(twin.eval()(x, **more), net.eval()(x, **more))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookback": 0}, "lookback is 0"),
        ({"heads": 17}, "heads is 17, but dim = 16"),
        ({"depth": 1.5}, "depth is 1.5"),
        ({"mlp_ratio": 0.01}, "mlp_ratio is 0.01"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"activation": "gelo"}, "did you mean 'gelu'"),
        ({"attention": "flaw"}, "did you mean 'flow'"),
        ({"known": -1}, "known is -1"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message) as error:
        model(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"past_marks": torch.zeros(3, 11, 4)}, r"past_marks has shape \(3, 11, 4\)"),
        ({"known": torch.zeros(3, 12, 2)}, r"known shape \(3, 12, 2\).* takes shape \(3, 19, 2\)"),
        ({"known": None}, "known none, but the network was built with known = 2"),
        ({"static": torch.zeros(3, 1)}, "built with static = 3"),
    ],
)
def test_wrong_covariates_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        full()(history(), **covariates() | change)


def test_wrong_histories_are_named():
    with pytest.raises(ValueError, match="lookback = 12"):
        model()(torch.zeros(1, 13, 2))
    with pytest.raises(ValueError, match="built with known = 0 and takes none"):
        model()(history(), known=torch.zeros(3, 19, 2))
