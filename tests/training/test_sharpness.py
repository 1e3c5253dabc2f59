"""SAM: the published formulas, exact restoring, and one step of the shared training loop."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from surform.training.sharpness import SharpnessAware, _add


def problem(dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).to(dtype)
    return net, torch.randn(12, 5, dtype=dtype), torch.randn(12, 2, dtype=dtype)


def adam(params) -> Optimizer:
    return Adam(params, lr=1e-2, weight_decay=1e-3)


def sgd(params) -> Optimizer:
    return SGD(params, lr=5e-2, momentum=0.9, weight_decay=1e-2)


def closure_of(
    net: nn.Module, x: Tensor, y: Tensor, optimizer: Optimizer, seen: list | None = None
):
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        if seen is not None:
            weights = [p.detach().clone() for p in net.parameters()]
            seen.append((loss.item(), weights, [p.grad.clone() for p in net.parameters()]))
        return loss

    return closure


def literal_step(net, x, y, base: Optimizer, rho: float, adaptive: bool) -> None:
    """One step, parameter by parameter, as the papers write it."""
    closure_of(net, x, y, base)()
    weights = list(net.parameters())
    before = [w.detach().clone() for w in weights]
    size = [w.abs() if adaptive else torch.ones_like(w) for w in before]
    norm = sum((s * w.grad).square().sum() for s, w in zip(size, weights, strict=True)).sqrt()
    with torch.no_grad():
        for w, s in zip(weights, size, strict=True):
            w += s**2 * w.grad * rho / (norm + 1e-12)
    closure_of(net, x, y, base)()
    with torch.no_grad():
        for w, old in zip(weights, before, strict=True):
            w.copy_(old)
    base.step()


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("base", [adam, sgd])
def test_steps_are_the_published_ones(base, adaptive):
    net, x, y = problem()
    twin = copy.deepcopy(net)
    ours, theirs = SharpnessAware(net.parameters(), base, 0.3, adaptive), base(twin.parameters())
    for _ in range(5):
        ours.step(closure_of(net, x, y, ours))
        literal_step(twin, x, y, theirs, 0.3, adaptive)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_the_perturbation_has_length_rho_and_climbs():
    net, x, y = problem()
    optimizer, seen = SharpnessAware(net.parameters(), sgd, rho=0.2), []
    loss = optimizer.step(closure_of(net, x, y, optimizer, seen))
    (first, before, gradients), (second, moved, _) = seen
    e = [b - a for a, b in zip(before, moved, strict=True)]
    assert sum(t.square().sum() for t in e).sqrt().item() == pytest.approx(0.2)
    direction = sum((t * g).sum() for t, g in zip(e, gradients, strict=True))
    length = sum(g.square().sum() for g in gradients).sqrt()
    assert (direction / length).item() == pytest.approx(0.2)  # along the gradient
    assert second > first == loss.item()


def test_rho_zero_is_the_base_optimizer():
    net, x, y = problem(torch.float32)
    twin = copy.deepcopy(net)
    ours, theirs = SharpnessAware(net.parameters(), adam, rho=0.0), adam(twin.parameters())
    for _ in range(4):
        ours.step(closure_of(net, x, y, ours))
        theirs.step(closure_of(twin, x, y, theirs))
    assert all(map(torch.equal, net.parameters(), twin.parameters()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_come_back_bit_for_bit(dtype):
    net, x, y = problem(dtype)
    before = [p.detach().clone() for p in net.parameters()]
    frozen = SharpnessAware(net.parameters(), lambda p: SGD(p, lr=0.0), rho=0.37)
    for _ in range(3):
        frozen.step(closure_of(net, x, y, frozen))
    assert all(map(torch.equal, before, net.parameters()))


def test_a_model_may_change_its_precision_between_steps():
    net, x, y = problem(torch.bfloat16)
    frozen = SharpnessAware(net.parameters(), lambda p: SGD(p, lr=0.0), rho=0.37)
    frozen.step(closure_of(net, x, y, frozen))
    net.double()
    net[0].weight.data.add_(1e-9)
    before = [p.detach().clone() for p in net.parameters()]
    frozen.step(closure_of(net, x.double(), y.double(), frozen))
    assert all(map(torch.equal, before, net.parameters()))


def test_the_weights_come_back_when_the_second_evaluation_fails():
    net, x, y = problem(torch.float32)
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = SharpnessAware(net.parameters(), adam, rho=0.5)
    good = closure_of(net, x, y, optimizer)

    def closure() -> Tensor:
        if optimizer.perturbed:
            raise KeyboardInterrupt
        return good()

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert not optimizer.perturbed
    assert all(map(torch.equal, before, net.parameters()))


def test_both_evaluations_draw_the_same_random_numbers():
    net, _, _ = problem()
    optimizer, drawn = SharpnessAware(net.parameters()), []

    def closure() -> Tensor:
        drawn.append((torch.rand(3).tolist(), np.random.rand(), random.random()))  # noqa: NPY002
        return net(torch.ones(1, 5).double()).sum()

    for _ in range(2):
        optimizer.step(closure)
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]


def test_running_statistics_move_once_a_step():
    def trained(make) -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2))
        optimizer = make(net)
        torch.manual_seed(1)
        for _ in range(3):
            x = torch.randn(8, 5)
            optimizer.step(closure_of(net, x, x[:, :2], optimizer))
        return net

    def watching(net: nn.Module) -> Optimizer:
        optimizer = SharpnessAware(net.parameters(), sgd, rho=0.1)
        optimizer.watch_buffers(net)
        return optimizer

    found = trained(watching)[0]
    expected = trained(lambda net: sgd(net.parameters()))[0]
    assert found.num_batches_tracked == expected.num_batches_tracked == 3
    torch.testing.assert_close(found.running_mean, expected.running_mean)
    torch.testing.assert_close(found.running_var, expected.running_var)


def test_parameters_without_gradient_stay():
    net, x, y = problem()
    spare = nn.Parameter(torch.ones(3).double())
    optimizer = SharpnessAware([*net.parameters(), spare], adam)
    optimizer.step(closure_of(net, x, y, optimizer))
    assert spare.tolist() == [1, 1, 1]
    idle = SharpnessAware([spare], adam)
    assert idle.step(lambda: None) is None
    assert spare.tolist() == [1, 1, 1]


def test_complex_parameters_climb_along_their_gradient():
    w = nn.Parameter(torch.tensor([1 + 2j, -0.5j]))
    losses: list[float] = []
    for adaptive in (False, True):
        optimizer = SharpnessAware([w], sgd, rho=0.1, adaptive=adaptive)

        def closure(optimizer: Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = (w - (2 - 1j)).abs().square().sum()
            loss.backward()
            losses.append(loss.item())
            return loss

        optimizer.step(closure)
    assert losses[1] > losses[0]
    assert losses[3] > losses[2]


def test_groups_have_options_of_their_own():
    net, x, y = problem()
    head, body = list(net[2].parameters()), list(net[0].parameters())
    groups = [{"params": body, "rho": 0.0, "lr": 1.0}, {"params": head}]
    optimizer, seen = SharpnessAware(groups, sgd, rho=0.3), []
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 5e-2]
    optimizer.step(closure_of(net, x, y, optimizer, seen))
    (_, before, _), (_, moved, _) = seen
    assert [torch.equal(a, b) for a, b in zip(before, moved, strict=True)] == [True] * 2 + [
        False
    ] * 2


def test_groups_and_state_are_those_of_the_base_optimizer():
    net, x, y = problem()
    optimizer = SharpnessAware(net[0].parameters(), adam)
    optimizer.add_param_group({"params": net[2].parameters(), "rho": 0.7})
    assert [group["rho"] for group in optimizer.param_groups] == [0.05, 0.7]
    OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
    optimizer.step(closure_of(net, x, y, optimizer))
    twin = copy.deepcopy(optimizer)
    twin.load_state_dict(optimizer.state_dict())
    for made in (optimizer, twin):
        assert made.param_groups is made.base.param_groups
        assert made.state is made.base.state
        assert len(made.state) == 4
        assert made.base.param_groups[0]["lr"] == pytest.approx(0.02)
    assert set(optimizer.state_dict()["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}


def test_a_state_of_the_base_optimizer_alone_can_be_loaded():
    net, x, y = problem()
    plain = adam(net.parameters())
    plain.step(closure_of(net, x, y, plain))
    optimizer = SharpnessAware(net.parameters(), adam, rho=0.4)
    optimizer.load_state_dict(plain.state_dict())
    optimizer.step(closure_of(net, x, y, optimizer))
    assert optimizer.param_groups[0]["rho"] == 0.4


def test_one_autocast_region_around_both_evaluations_sees_the_moved_weights():
    net, x, y = problem(torch.float32)
    optimizer, losses = SharpnessAware(net.parameters(), sgd, rho=5.0), []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (net(x).float() - y).square().mean()
        loss.backward()
        losses.append(loss.item())
        return loss

    with torch.autocast("cpu", dtype=torch.bfloat16):
        optimizer.step(closure)
    assert losses[1] > 1.5 * losses[0]


class Elsewhere(Tensor):
    """A number that says it lies on another device, from which it is not to be read."""

    device = torch.device("cuda")

    def item(self) -> float:
        raise AssertionError("reading a number waits for the device")


@pytest.mark.parametrize("adaptive", [False, True])
def test_devices_are_not_waited_for(adaptive):
    weights, moves = [torch.randn(3).double()], [torch.randn(3).double()]
    sizes, scale = [w.abs() for w in weights] if adaptive else None, torch.tensor(0.3).double()
    expected = [w.clone() for w in weights]
    _add(expected, [m.clone() for m in moves], sizes, scale)
    _add(weights, moves, sizes, scale.as_subclass(Elsewhere))
    torch.testing.assert_close(weights, expected)


@pytest.mark.fault
def test_wrong_uses_are_named():
    net, _, _ = problem()
    with pytest.raises(ValueError, match="rho is -1, but must be >= 0"):
        SharpnessAware(net.parameters(), rho=-1)
    with pytest.raises(ValueError, match=r"base_optimizer is LBFGS, .*such as Adam or SGD"):
        SharpnessAware(net.parameters(), LBFGS)
    with pytest.raises(ValueError, match="base_optimizer is SharpnessAware"):
        SharpnessAware(net.parameters(), SharpnessAware)
    with pytest.raises(RuntimeError, match=r"needs step\(closure\).*bf16-mixed or 32-true"):
        SharpnessAware(net.parameters()).step()
