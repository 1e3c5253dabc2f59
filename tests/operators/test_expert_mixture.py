"""Mixtures of feed-forward maps: blocks against the plain expression, derivatives, first values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surform.layers import native
from surform.operators import expert_mixture
from surform.operators.expert_blocks import ACTIVATIONS
from surform.operators.expert_mixture import ExpertMixture
from surform.operators.gnot_layers import GateNet
from surform.operators.native_mixture import mixes_natively


def mixture(experts, activation="gelu", dtype=torch.float64, dim=5, hidden=7):
    torch.manual_seed(0)
    return ExpertMixture(dim, hidden, experts, activation=activation).to(dtype)


def shares(rows, experts, dtype=torch.float64):
    if experts == 1:
        return None
    return torch.randn(*rows, experts, dtype=dtype).softmax(-1).requires_grad_()


def literally(net, x, gates):
    """One pair of linear maps after the other."""
    act, total = ACTIVATIONS[net.activation].function, 0
    for i in range(len(net.up_bias)):
        hidden = act(nn.functional.linear(x, net.up_weight[i].T, net.up_bias[i]))
        y = nn.functional.linear(hidden, net.down_weight[i].T, net.down_bias[i])
        total = total + (y if gates is None else gates[..., i : i + 1] * y)
    return total


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("experts", [1, 3])
@pytest.mark.parametrize("plain", [False, True])
def test_values_and_gradients(experts, activation, plain, monkeypatch):
    if plain:
        monkeypatch.setattr(expert_mixture, "works_in_blocks", lambda x: False)
    net, x = mixture(experts, activation), torch.randn(2, 150, 5).double().requires_grad_()
    gates = shares((2, 150), experts)
    inputs = [x, *([] if gates is None else [gates]), *net.parameters()]
    expected = literally(net, x, gates)
    found = net(x, gates)  # several blocks of at least 64 rows
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, inputs, cotangent),
        torch.autograd.grad(expected, inputs, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("experts", [1, 2])
def test_first_and_second_derivatives_are_right(experts, activation):
    net, x = mixture(experts, activation, dim=2, hidden=3), torch.randn(3, 2).double()
    gates = shares((3,), experts)

    def call(x, *gates):
        return net(x, *gates)

    inputs = (x.requires_grad_(), *([] if gates is None else [gates]))
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (5,), (3, 1, 2, 5)])
def test_any_number_of_points(shape):
    net = mixture(2)
    gates = shares(shape[:-1], 2)
    found = net(torch.ones(shape, dtype=torch.float64), gates)
    torch.testing.assert_close(found, literally(net, torch.ones(shape).double(), gates))


def test_strided_points_and_gates():
    net, x = mixture(3), torch.randn(2, 5, 40).double()
    gates = shares((40, 2), 3)
    found = net(x.transpose(1, 2), gates.transpose(0, 1))
    torch.testing.assert_close(
        found, literally(net, x.transpose(1, 2), gates.transpose(0, 1)), rtol=1e-12, atol=1e-12
    )


def test_parameters_start_as_those_of_linear_maps():
    torch.manual_seed(1)
    net, linear = ExpertMixture(64, 256, 2), nn.Linear(64, 256)
    assert net.up_weight.abs().max() <= 64**-0.5
    assert net.down_bias.abs().max() <= 256**-0.5
    for i in range(2):
        torch.testing.assert_close(net.up_weight[i].std(), linear.weight.std(), rtol=0.05, atol=0)


def test_the_gate_is_a_perceptron_with_two_hidden_layers():
    torch.manual_seed(0)
    net, x = GateNet(2, 16, 3, "tanh").double(), torch.randn(2, 5000, 2).double()
    up, up_bias, down, down_bias = net.rest.parameters()
    hidden = torch.tanh(torch.tanh(net.first(x)) @ up[0] + up_bias[0])
    expected, found = hidden @ down[0] + down_bias[0], net(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, [*net.parameters()], cotangent) for y in (found, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("natively", [False, True])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("experts", [1, 3])
def test_kernels_agree_with_the_plain_expression(
    experts, activation, natively, recompute, monkeypatch
):
    monkeypatch.setenv("SURFORM_NATIVE", "1" if natively else "0")
    torch.manual_seed(0)
    options = {"out": 5, "activation": activation, "recompute": recompute}
    net = ExpertMixture(32, 48, experts, **options)
    x = torch.randn(2, 333, 32).requires_grad_()  # blocks of 128 points and a rest
    gates = shares((2, 333), experts, torch.float32)
    inputs = [x, *([] if gates is None else [gates]), *net.parameters()]
    found = net(x, gates)
    with torch.no_grad():
        assert torch.equal(net(x, gates), found)
    monkeypatch.setattr(expert_mixture, "works_in_blocks", lambda x: False)
    expected = net(x, gates)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    cotangent = torch.randn_like(expected)
    grads = [torch.autograd.grad(y, inputs, cotangent) for y in (found, expected)]
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("natively", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_the_gates_first_map_inside_or_outside_of_the_kernel(
    activation, natively, recompute, monkeypatch
):
    monkeypatch.setenv("SURFORM_NATIVE", "1" if natively else "0")
    torch.manual_seed(0)
    net = GateNet(3, 32, 5, activation, recompute)
    x = torch.randn(2, 333, 3).requires_grad_()
    found = net(x)
    hidden = ACTIVATIONS[activation].function(net.first(x))
    monkeypatch.setattr(expert_mixture, "works_in_blocks", lambda x: False)
    expected = net.rest(hidden)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    cotangent, inputs = torch.randn_like(expected), [x, *net.parameters()]
    grads = [torch.autograd.grad(y, inputs, cotangent) for y in (found, expected)]
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("natively", [False, True])
def test_second_derivatives_in_float32(natively, monkeypatch):
    """Through the plain expression, which the gradient of a gradient takes."""
    monkeypatch.setenv("SURFORM_NATIVE", "1" if natively else "0")
    torch.manual_seed(0)
    gate, net = GateNet(2, 16, 2), ExpertMixture(16, 32, 2)
    p, lift = torch.randn(9, 2).requires_grad_(), torch.randn(2, 16)

    def second():
        y = net(p @ lift, gate(p).softmax(-1))
        (slope,) = torch.autograd.grad(y.square().sum(), p, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [p, *gate.parameters(), *net.parameters()])

    found = second()
    monkeypatch.setattr(expert_mixture, "works_in_blocks", lambda x: False)
    for mine, theirs in zip(found, second(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


def test_two_threads_give_what_one_gives():
    net, x = mixture(3, dtype=torch.float32, dim=32, hidden=64), torch.randn(1, 1000, 32)
    gates, before, found = shares((1, 1000), 3, torch.float32), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            y = net(x, gates)
            found.append([y, *torch.autograd.grad(y.sin().sum(), [gates, *net.parameters()])])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_a_mixture_that_serves_runs_natively():
    if native.library() is None:
        pytest.skip(str(native.reason()))
    x, up = torch.ones(3, 16), torch.ones(2, 16, 48)
    assert mixes_natively("gelu", x, up)
    assert not mixes_natively("tanh", x, up)
    assert not mixes_natively("gelu", x[:, :8], up[:, :8])
    assert not mixes_natively("gelu", x.double(), up.double())
