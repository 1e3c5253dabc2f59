"""IFactFormer: the literal formulas, counts, checkpointing, properties, precisions, compilers."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from surform import attention
from surform.bench.measure import peak_memory
from surform.data.batches import FieldBatch
from surform.layers import native
from surform.operators.ifactformer import IFactFormer
from surform.operators.task import FieldTask
from surform.registry import create_model
from surform.rollout.stepping import rollout
from tests.operators.literal_ifactformer import literal_block, literal_forward

SMALL = {"dim": 12, "iterations": 3, "heads": 2, "head_dim": 6}
FORMS = [("parallel", "head"), ("parallel", "first"), ("chained", "head"), ("chained", "first")]
CHECKPOINTS = ["none", "values", "iterations"]
forms = pytest.mark.parametrize(("mixing", "release"), FORMS)


def model(**options) -> IFactFormer:
    torch.manual_seed(0)
    net = IFactFormer(**SMALL | options)
    for layer in net.layers:  # larger kernels than at the start of training
        for axis in layer.block.axes:
            nn.init.normal_(axis.to_query.weight, std=0.2)
            nn.init.normal_(axis.to_key.weight, std=0.2)
    return net


def example(
    net: IFactFormer, grid: tuple[int, ...] = (6, 5, 4), batch: int = 2, dtype=torch.float32
) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(1)
    u = torch.randn(batch, net.input_steps, *grid, net.in_channels, dtype=dtype)
    lengths = (4 * math.pi, 2.0, 4 * math.pi / 3)
    return u, [torch.linspace(0, s, n, dtype=dtype) for n, s in zip(grid, lengths, strict=False)]


def gradients(net: nn.Module, y: Tensor) -> dict[str, Tensor]:
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    named = {n: p for n, p in net.named_parameters() if p.requires_grad}
    found = torch.autograd.grad((y * weights).sum(), list(named.values()))
    return dict(zip(named, found, strict=True))


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], bound: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = (found[name] - value).abs().max()
        assert error <= bound * value.abs().max() + 1e-12, name


@pytest.mark.parametrize(
    ("mixing", "release", "count"),
    [
        ("parallel", "head", 1_163_331),
        ("parallel", "first", 1_181_763),
        ("chained", "head", 1_071_171),
        ("chained", "first", 1_071_171),
    ],
)
def test_defaults_have_the_published_number_of_parameters(mixing, release, count):
    net = create_model("ifactformer", mixing=mixing, release=release)
    assert sum(parameter.numel() for parameter in net.parameters()) == count
    frequencies = net.layers[0].encoding.frequencies
    assert frequencies.numel() == 144
    assert not frequencies.requires_grad


@forms
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(
    ("options", "grid"),
    [
        ({}, (6, 5, 4)),
        ({"input_steps": 2, "depth": 2, "in_channels": 2, "out_channels": 5}, (4, 7, 3)),
        ({"rank": 2, "kernel_multiplier": 5, "iterations": 1}, (7, 6)),
    ],
    ids=["one layer", "two layers", "two axes"],
)
def test_model_equals_the_literal_formulas(mixing, release, options, grid, dtype):
    net = model(mixing=mixing, release=release, **options).to(dtype)
    u, x = example(net, grid, dtype=dtype)
    ours, theirs = net(u, x), literal_forward(net, u, x)
    double = dtype == torch.float64
    torch.testing.assert_close(
        ours, theirs, rtol=1e-9 if double else 1e-3, atol=1e-11 if double else 1e-4
    )
    bound = 1e-9 if double else 5e-3
    assert_close(gradients(net, ours), gradients(net, theirs), bound)


@forms
def test_first_release_ends_with_a_second_mlp_in_parallel(mixing, release):
    net = model(mixing=mixing, release=release)
    second = len(net.layers[0].block.second_mlp)
    assert second == (2 if (mixing, release) == ("parallel", "first") else 0)


@forms
@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_checkpointing_changes_memory_only(mixing, release, backend):
    found = []
    for checkpoint in CHECKPOINTS:
        net = model(mixing=mixing, release=release, recompute=checkpoint, depth=2).double()
        u, x = example(net, dtype=torch.float64)
        if backend == "reference":
            with attention.use("reference"):
                y = net(u, x)
                found.append({"y": y} | gradients(net, y))
        else:
            y = net(u, x)
            found.append({"y": y} | gradients(net, y))
    assert_close(found[1], found[0], 1e-12)
    assert_close(found[2], found[0], 1e-12)


def kept_numbers(net: IFactFormer, u: Tensor, x: list[Tensor], backend: str | None) -> int:
    """Numbers that autograd keeps for the backward pass, each memory once, without parameters."""
    own = {p.data_ptr() for p in net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        alive.append(tensor)  # so that no address is used twice
        return tensor

    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        if backend is None:
            net(u, x)
        else:
            with attention.use(backend):
                net(u, x)
    return sum(kept.values())


@pytest.mark.parametrize("mixing", ["parallel", "chained"])
@pytest.mark.parametrize("backend", [None, "reference"], ids=["blocks", "plain"])
def test_kept_fields_per_iteration(mixing, backend):
    """In units of one field of dim channels: one with "iterations", a few with "values"."""
    growth = {}
    for checkpoint in CHECKPOINTS:
        options = {"mixing": mixing, "recompute": checkpoint, "dim": 12, "heads": 4}
        few, many = (model(iterations=n, **options).double() for n in (2, 6))
        u, x = example(few, (12, 12, 12), batch=1, dtype=torch.float64)
        counts = [kept_numbers(net, u, x, backend) for net in (few, many)]
        growth[checkpoint] = (counts[1] - counts[0]) / 4 / (12**3 * 12)
    assert growth["iterations"] == pytest.approx(1, abs=0.05)
    assert growth["values"] <= 6
    assert growth["none"] >= growth["values"] + 3


_PROGRAM = """
import torch; torch.set_num_threads(1)
from surform.operators.ifactformer import IFactFormer
net = IFactFormer(iterations={iterations}, recompute={checkpoint!r})
def step(*grid):
    x = [torch.linspace(0, 1, n) for n in grid]
    net(torch.randn(1, 1, *grid, 3), x).square().mean().backward()
step(4, 4, 4)
def run():
    step(24, 24, 12)
"""


@pytest.mark.slow
def test_training_memory_hardly_grows_with_iterations():
    """Measured: peak memory of a training step in processes of their own."""
    peaks = {
        (checkpoint, n): peak_memory(_PROGRAM.format(iterations=n, checkpoint=checkpoint))
        for checkpoint in ("none", "iterations")
        for n in (2, 10)
    }
    field = 4 * 24 * 24 * 12 * 96 / 1e6  # MB
    assert peaks["iterations", 10] - peaks["iterations", 2] <= 8 * 2 * field
    assert peaks["none", 10] - peaks["none", 2] >= 8 * 10 * field
    assert peaks["iterations", 10] <= 0.4 * peaks["none", 10]


def test_iterations_are_steps_of_an_ordinary_differential_equation():
    """u' = block(u) by Euler's method: twice the steps, half the distance to many."""
    states = {}
    for n in (8, 16, 32):
        net = model(iterations=n).double()
        with torch.no_grad():
            net.layers[0].block.mlp_out.weight.mul_(0.2)
        u, x = example(net, dtype=torch.float64)
        states[n] = net.layers[0](net.lift(u), x)
    ratio = (states[8] - states[16]).norm() / (states[16] - states[32]).norm()
    assert 1.7 < ratio < 2.3


@forms
def test_samples_do_not_see_each_other(mixing, release):
    net = model(mixing=mixing, release=release).double()
    u, x = example(net, batch=3, dtype=torch.float64)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(net(u[order], x), net(u, x)[order])
    torch.testing.assert_close(net(u[1:2], x), net(u, x)[1:2])


@pytest.mark.parametrize("mixing", ["parallel", "chained"])
def test_axes_may_be_swapped_with_their_weights(mixing):
    """Of the HEAD release: its norm sees all axes alike."""
    net = model(mixing=mixing, depth=1)
    swapped = copy.deepcopy(net)
    block = swapped.layers[0].block
    block.axes = nn.ModuleList([block.axes[i] for i in (1, 0, 2)])
    encoding = swapped.layers[0].encoding.frequencies
    encoding.data = encoding[[1, 0, 2]]
    if mixing == "parallel":  # the output map's columns, (h, axis, d)
        columns = block.to_out.weight.data.unflatten(1, (2, 3, -1))
        block.to_out.weight.data = columns[:, :, [1, 0, 2]].flatten(1)
    net, swapped = net.double(), swapped.double()
    u, (x, y, z) = example(net, dtype=torch.float64)
    turned = swapped(u.transpose(2, 3), [y, x, z]).transpose(2, 3)
    torch.testing.assert_close(turned, net(u, [x, y, z]))


@pytest.mark.parametrize("release", ["head", "first"])
def test_other_resolutions(release):
    net = model(release=release)
    for grid in ((4, 7, 5), (8, 8, 8), (2, 1, 6)):
        u, x = example(net, grid)
        y = net(u, x)
        assert y.shape == (2, 1, *grid, 3)
        assert y.isfinite().all()


def test_with_and_without_gradients_agree():
    net = model().double()
    u, x = example(net, dtype=torch.float64)
    with torch.no_grad():
        quiet = net(u, x)
    torch.testing.assert_close(quiet, net(u, x))
    with torch.inference_mode():
        torch.testing.assert_close(quiet, net(u, x))
    net(u, x).sum().backward()  # nothing kept from inference mode spoils training


def test_a_shift_by_one_period_changes_nothing_on_periodic_axes():
    u, x = None, None
    for periodic, same in (([True, False, True], True), (None, False)):
        net = model(periodic=periodic).double()
        u, x = example(net, dtype=torch.float64)
        x[0] = 4 * math.pi * torch.arange(6, dtype=torch.float64) / 6
        moved = net(u, [x[0] + 4 * math.pi, *x[1:]])
        error = (moved - net(u, x)).abs().max()
        assert error < 1e-9 if same else error > 1e-6
    shifted = model(periodic=[True, False, True]).double()
    assert (shifted(u, [x[0], x[1] + 2, x[2]]) - shifted(u, x)).abs().max() > 1e-6


@forms
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_second_derivatives_exist_and_are_right(mixing, release, checkpoint):
    net = model(mixing=mixing, release=release, recompute=checkpoint, iterations=2).double()
    u, x = example(net, (4, 3, 3), batch=1, dtype=torch.float64)
    u.requires_grad_()
    direction = torch.randn_like(u)

    def slope(at: Tensor) -> Tensor:
        (g,) = torch.autograd.grad(net(at, x).square().mean(), at, create_graph=True)
        return (g * direction).sum()

    (curvature,) = torch.autograd.grad(slope(u), u)
    step = 1e-5 * direction
    difference = (slope(u + step) - slope(u - step)).item() / 2e-5
    assert (curvature * direction).sum().item() == pytest.approx(difference, rel=1e-5)


@forms
def test_bfloat16_and_float16_autocast_stay_finite_and_close(mixing, release):
    net = model(mixing=mixing, release=release)
    u, x = example(net)
    exact = net(u, x)
    for dtype, factor in ((torch.bfloat16, 1.0), (torch.float16, 100.0)):
        with torch.autocast("cpu", dtype=dtype):
            out = net(factor * u, x)
        assert out.isfinite().all()
        if factor == 1.0:
            assert (out.float() - exact).norm() <= 0.05 * exact.norm()
        net.zero_grad()
        out.float().sum().backward()
        assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_in_16_bits_stay_close_and_train(dtype):
    net = model()
    u, x = example(net)
    exact = net(u, x)
    out = net.to(dtype)(u.to(dtype), x)
    assert out.dtype == dtype
    assert (out - exact).norm() <= 32 * torch.finfo(dtype).eps * exact.norm()
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


def test_an_empty_batch_gives_an_empty_result():
    net = model()
    u, x = example(net)
    assert net(u[:0], x).shape == (0, 1, 6, 5, 4, 3)


CORNERS = [("parallel", "first", "iterations"), ("chained", "head", "values")]


@pytest.mark.parametrize(
    ("mixing", "release", "checkpoint"),
    [CORNERS[0], pytest.param(*CORNERS[1], marks=pytest.mark.slow)],
)
def test_compiles_without_graph_break(mixing, release, checkpoint):
    torch._dynamo.reset()
    net = model(mixing=mixing, release=release, recompute=checkpoint, iterations=1)
    u, x = example(net, batch=1)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    y, plain = compiled(u, x), net(u, x)
    torch.testing.assert_close(y, plain, rtol=1e-3, atol=1e-4)
    assert_close(gradients(net, y), gradients(net, plain), 1e-3)


@pytest.mark.parametrize(("mixing", "release", "checkpoint"), CORNERS)
def test_exports_to_plain_operations(mixing, release, checkpoint):
    net = model(mixing=mixing, release=release, recompute=checkpoint, iterations=2).eval()
    u, x = example(net, batch=1)
    program = torch.export.export(net, (u, tuple(x)))
    assert not [n for n in program.graph.nodes if "surform" in str(n.target)]
    torch.testing.assert_close(program.module()(u, tuple(x)), net(u, x), rtol=1e-3, atol=1e-4)


def test_arguments_are_recorded_and_rebuild_the_model():
    net = model(release="first", input_steps=2, periodic=[True, False, True], recompute="none")
    twin = IFactFormer(**net.arguments)
    twin.load_state_dict(net.state_dict())
    u, x = example(net)
    torch.testing.assert_close(twin(u, x), net(u, x))


def trained(**options) -> tuple[FieldTask, FieldBatch]:
    """A task whose statistics are known, and a batch of three target frames."""
    task = FieldTask(net=model(input_steps=2), steps=1, **options).double()
    for normalizer in task.surrogate.normalizers().values():
        normalizer.fit(torch.full((3,), 0.1), torch.full((3,), 2.0))
    u, x = example(task.surrogate.net, dtype=torch.float64)
    targets = torch.randn(2, 3, *u.shape[2:], dtype=torch.float64)
    return task.double(), FieldBatch(u, targets, tuple(x))


@pytest.mark.parametrize("predicts", ["state", "change"])
def test_one_step_model_rolls_out_window_by_window(predicts):
    task, batch = trained(predicts=predicts)
    surrogate, window = task.surrogate, batch.inputs
    for frame in rollout(surrogate, window, batch.coordinates, steps=3):
        normal = (window - 0.1) / 2
        expected = surrogate.net(normal, batch.coordinates)
        expected = expected + normal[:, -1:] if predicts == "change" else expected
        torch.testing.assert_close(frame, 2 * expected[:, 0] + 0.1)
        window = torch.cat((window[:, 1:], frame[:, None]), dim=1)
    torch.testing.assert_close(task.evaluate_batch(batch).output[:, -1], frame)


def test_training_goes_on_from_its_own_predictions():
    options = {"pushforward_after": 0, "pushforward_rollouts": 2}
    task, batch = trained(predicts="change", **options)
    window, targets = task._push_forward(batch.inputs, batch)
    frames = list(rollout(task.surrogate, batch.inputs, batch.coordinates, steps=2))
    torch.testing.assert_close(window, torch.stack(frames, dim=1))
    assert torch.equal(targets, batch.targets[:, 2:])
    seen = task._compare(window, targets, batch, 1)
    task.loss(seen, batch).backward()
    assert task.surrogate.net.layers[0].block.to_value.weight.grad.abs().max() > 0


@pytest.mark.skipif(native.library() is None, reason=str(native.reason()))
@forms
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_native_kernels_equal_the_literal_formulas(mixing, release, checkpoint):
    options = {"dim": 96, "head_dim": 32, "iterations": 2, "recompute": checkpoint}
    net = model(mixing=mixing, release=release, **options)
    u, x = example(net, (9, 7, 5))
    y, exact = net(u, x), copy.deepcopy(net).double()
    expected = literal_forward(exact, u.double(), [t.double() for t in x])
    assert (y - expected).norm() <= 1e-4 * expected.norm()
    assert_close(gradients(net, y), gradients(exact, expected), 2e-3)


def test_the_block_alone_equals_the_literal_formulas():
    net = model(release="first").double()
    block = net.layers[0].block
    u, x = torch.randn(2, 6, 5, 4, 12).double(), example(net, dtype=torch.float64)[1]
    torch.testing.assert_close(block(u, x), literal_block(block, u, x))
    torch.testing.assert_close(block(u, x, residual=u, factor=0.5), u + 0.5 * block(u, x))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixing": "modified"}, "mixing is 'modified', but must be one of"),
        ({"release": "heads"}, "did you mean 'head'"),
        ({"recompute": True}, "recompute is True, but must be one of"),
        ({"iterations": 0}, "iterations is 0"),
        ({"input_steps": 0}, "input_steps is 0"),
        ({"depth": 1.5}, "depth is 1.5"),
        ({"heads": 0}, "heads"),
        ({"rank": 1}, "rank is 1, but must be a whole number >= 2"),
        ({"dim": 16}, r"multiple of 2 \* in_channels = 6"),
        ({"head_dim": 3}, "must be even for rotary"),
        ({"periodic": [True, False]}, "must say true or false for 3 axes"),
        ({"periodic": True}, "must say true or false for 3 axes"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message) as error:
        model(**options)
    assert "\n" not in str(error.value)


@pytest.mark.fault
def test_wrong_inputs_are_named():
    net = model(periodic=[True, False, True])
    u, x = example(net)
    with pytest.raises(ValueError, match="2 coordinates for a grid of 3 axes"):
        net(u, x[:2])
    with pytest.raises(ValueError, match=r"coordinates\[1\] has shape \(6,\)"):
        net(u, [x[0], x[0], x[2]])
    with pytest.raises(ValueError, match="has 2 frames"):
        net(torch.cat((u, u), 1), x)
    with pytest.raises(ValueError, match="has 2 channels"):
        net(u[..., :2], x)
    with pytest.raises(ValueError, match="expected"):
        net(u[0], x)
    with pytest.raises(ValueError, match="steps is 2, but this model predicts 1 to 1"):
        net(u, x, 2)
    with pytest.raises(ValueError, match="axis 2 has 1 point, a periodic axis needs at least 2"):
        net(u[:, :, :, :, :1], [*x[:2], x[2][:1]])
