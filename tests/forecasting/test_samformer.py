"""SAMformer: official numbers, the literal formulas, both ways of mixing, precisions, compilers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from surform import attention
from surform.forecasting.samformer import SAMformer
from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, verify_case
from surform.registry import create_model
from tests.forecasting.literal_samformer import literal_forward

GOLDEN = Path(__file__).parents[1] / "golden" / "samformer"
SIZES = [  # lookback, horizon, variates, batch: values and head apart, and merged
    pytest.param((24, 12, 5, 3), id="apart"),
    pytest.param((24, 3, 5, 40), id="merged"),
    pytest.param((8, 20, 3, 2), id="long"),
]


def model(lookback: int = 24, horizon: int = 3, variates: int = 5, **options) -> SAMformer:
    torch.manual_seed(0)
    made = SAMformer(lookback, horizon, variates, dim=4, **options)
    if made.revin is not None:
        torch.nn.init.uniform_(made.revin.weight, 0.5, 1.5)
        torch.nn.init.uniform_(made.revin.bias, -1, 1)
    return made


def history(batch: int = 40, lookback: int = 24, variates: int = 5) -> Tensor:
    return 2 * torch.randn(batch, lookback, variates) + 3


def gradients(output: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output.square().sum(), leaves)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", find_cases([GOLDEN]), ids=lambda path: path.stem)
def test_official_numbers(case: Path, dtype: torch.dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.passed, report.problem or report.worst


@pytest.mark.parametrize("revin", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_it_is_the_literal_formula(sizes: tuple[int, ...], revin: bool):
    *shape, batch = sizes
    net = model(*shape, normalize=revin).double()
    x = history(batch, shape[0], shape[2]).double().requires_grad_()
    ours, theirs = net(x), literal_forward(net, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)
    leaves = [x, *net.parameters()]
    for a, b in zip(gradients(ours, leaves), gradients(theirs, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9 * b.abs().max().item() + 1e-9)


@pytest.mark.parametrize("sizes", SIZES)
def test_in_float32_it_is_the_literal_formula_up_to_rounding(sizes: tuple[int, ...]):
    *shape, batch = sizes
    net, x = model(*shape), history(batch, shape[0], shape[2])
    theirs = literal_forward(net, x)
    assert (net(x) - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize(("batch", "width"), [(1, 24), (40, 12)])
def test_values_are_merged_with_the_head_where_that_costs_less(
    batch: int, width: int, monkeypatch: pytest.MonkeyPatch
):
    widths: list[int] = []

    def watched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        widths.append(v.shape[-1])
        return attention.softmax(q, k, v)

    monkeypatch.setattr("surform.forecasting.samformer.attention", SimpleNamespace(softmax=watched))
    model(horizon=12)(history(batch))
    assert widths == [width]


def test_the_bias_of_the_keys_gets_no_gradient_at_all():
    net = model()
    net(history()).square().sum().backward()
    assert net.key.bias.grad is not None
    assert not net.key.bias.grad.any()
    shifted = model()
    torch.nn.init.normal_(shifted.key.bias)
    torch.testing.assert_close(shifted(x := history()), net(x))


def test_variates_may_come_in_any_order():
    net, x, order = model().double(), history().double(), torch.tensor([3, 0, 4, 1, 2])
    moved = model().double()
    moved.load_state_dict(net.state_dict())
    with torch.no_grad():
        moved.revin.weight.copy_(net.revin.weight[order])
        moved.revin.bias.copy_(net.revin.bias[order])
    torch.testing.assert_close(moved(x[..., order]), net(x)[..., order])


def test_a_shifted_and_scaled_history_shifts_and_scales_the_forecast():
    net, x = model().double(), 100 * history().double()
    torch.testing.assert_close(net(3 * x + 7), 3 * net(x) + 7, rtol=1e-6, atol=1e-6)


def test_windows_do_not_see_each_other():
    net, x = model().double(), history().double()
    torch.testing.assert_close(net(x[3:5]), net(x)[3:5])
    assert net(x[:0]).shape == (0, 3, 5)


def test_without_revin_any_number_of_variates_goes():
    net = SAMformer(24, 3, dim=4, normalize=False)
    assert net(torch.randn(2, 24, 1)).shape == (2, 3, 1)
    assert net(torch.randn(2, 24, 9)).shape == (2, 3, 9)


@pytest.mark.parametrize("revin", [True, False])
def test_narrow_values_are_full_ones_of_their_rank(revin: bool):
    narrow = model(value_dim=4, normalize=revin).double()
    for layer in (narrow.query, narrow.value, narrow.out, narrow.head):
        torch.nn.init.normal_(layer.bias)
    state = narrow.state_dict()
    out, shift = state.pop("out.weight"), state.pop("out.bias")
    state["value.bias"] = out @ state["value.bias"] + shift
    state["value.weight"] = out @ state["value.weight"]
    full = model(normalize=revin).double()
    full.load_state_dict(state)
    torch.testing.assert_close(narrow(x := history().double()), full(x))


@pytest.mark.parametrize(
    ("variates", "horizon", "count"), [(7, 96, 328_334), (321, 96, 328_962), (7, 720, 648_446)]
)
def test_the_published_sizes(variates: int, horizon: int, count: int):
    net = SAMformer(512, horizon, variates)
    assert sum(p.numel() for p in net.parameters()) == count


def test_bfloat16_autocast_stays_close_and_trains():
    net, x = model(), history()
    exact = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(x)
    assert (out - exact).abs().max() <= 0.03 * exact.abs().max()
    out.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_stay_close(dtype: torch.dtype):
    net, x = model(), history()
    exact = net(x)
    out = net.to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    assert (out - exact).abs().max() <= 32 * torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize("sizes", SIZES)
def test_compiles_without_graph_break(sizes: tuple[int, ...]):
    torch._dynamo.reset()
    *shape, batch = sizes
    net, x = model(*shape), history(batch, shape[0], shape[2])
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-5)
    compiled(x).sum().backward()
    assert net.value.weight.grad is not None


def test_compiled_it_takes_batches_of_every_size():
    torch._dynamo.reset()
    net = model()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    for batch in (2, 40, 3, 50):
        x = history(batch)
        torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-5)


def test_an_exported_program_takes_batches_of_every_size():
    net = model().eval()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(net, (history(2),), dynamic_shapes=({0: batch},))
    for size in (1, 50):
        x = history(size)
        torch.testing.assert_close(program.module()(x), net(x), rtol=1e-4, atol=1e-5)


def test_arguments_are_recorded_and_rebuild_the_model():
    net = model(normalize=True)
    twin = create_model("samformer", **net.arguments)
    twin.load_state_dict(net.state_dict())
    torch.testing.assert_close(twin(x := history()), net(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookback": 0}, "lookback is 0"),
        ({"horizon": 2.5}, "horizon is 2.5"),
        ({"variates": 0}, "variates is 0"),
        ({"dim": -1}, "dim is -1"),
        ({"value_dim": 0}, "value_dim is 0"),
        ({"variates": None}, "variates is None, but must be their number: normalize"),
    ],
)
def test_wrong_arguments_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message) as error:
        SAMformer(**{"variates": 5} | options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(2, 5, 24), (2, 24, 4), (24, 5)])
def test_wrong_histories_are_named(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"must be \(b, 24, 5\): time before variates"):
        model()(torch.randn(shape))
    with pytest.raises(ValueError, match=r"must be \(b, 24, v\)"):
        SAMformer(24, 3, normalize=False)(torch.randn(2, 23, 5))
