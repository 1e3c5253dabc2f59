"""Cases that are not in the golden folder, made by the official maths written out here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture
from surform.hub.verify import verify_case


class Affine(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.affine_weight = nn.Parameter(torch.empty(channels).uniform_(0.5, 1.5))
        self.affine_bias = nn.Parameter(torch.randn(channels))


class Official(nn.Module):
    """Channel first, parameter names and order of operations of the official network."""

    def __init__(self, channels: int, length: int, width: int, horizon: int, revin: bool) -> None:
        super().__init__()
        self.use_revin = revin
        self.revin = Affine(channels)
        self.compute_keys = nn.Linear(length, width)
        self.compute_queries = nn.Linear(length, width)
        self.compute_values = nn.Linear(length, length)
        self.linear_forecaster = nn.Linear(length, horizon)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True).detach()
        deviation = (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt().detach()
        scale, shift = self.revin.affine_weight[:, None], self.revin.affine_bias[:, None]
        if self.use_revin:
            x = (x - mean) / deviation * scale + shift
        q, k, v = self.compute_queries(x), self.compute_keys(x), self.compute_values(x)
        x = x + torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1) @ v
        y = self.linear_forecaster(x)
        return (y - shift) / (scale + 1e-10) * deviation + mean if self.use_revin else y


def fixture(
    kind: str, net: Official, constructor: dict[str, Any], tensors: dict[str, Tensor], **more: Any
) -> Fixture:
    held = {n: t.detach().clone() for n, t in tensors.items()}
    return Fixture(
        system="samformer",
        kind=kind,
        options=more.get("options", {}),
        constructor=constructor,
        mode="train",
        dtype=torch.float64,
        rtol=1e-9,
        atol=1e-10,
        path=Path("made.json"),
        tensors=held,
    )


def network(sizes: tuple[int, int, int, int], revin: bool) -> tuple[Official, dict[str, Any]]:
    torch.manual_seed(5)
    names = ("num_channels", "seq_len", "hid_dim", "pred_horizon")
    constructor = dict(zip(names, sizes, strict=True)) | {"use_revin": revin}
    return Official(*sizes, revin).double(), constructor


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("revin", [True, False])
@pytest.mark.parametrize("sizes", [(9, 30, 16, 4), (1, 8, 2, 20)], ids=["merged", "long"])
def test_outputs_and_gradients(sizes, revin: bool, flat: bool, dtype: torch.dtype) -> None:
    net, constructor = network(sizes, revin)
    x = (torch.randn(17, *sizes[:2]).double() * 2 + 1).requires_grad_()
    y = net(x).flatten(1) if flat else net(x)
    cotangent = torch.randn_like(y)
    (y * cotangent).sum().backward()
    tensors = {f"param/{n}": p for n, p in net.named_parameters()}
    tensors |= {f"grad/{n}": p.grad for n, p in net.named_parameters() if p.grad is not None}
    tensors |= {"in/x": x, "in/cot": cotangent, "out/y": y, "grad/in/x": x.grad}
    options = {"flatten_output": flat}
    report = verify_case(fixture("model", net, constructor, tensors, options=options), dtype)
    assert report.passed, report.problem or report.worst


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    "optimizer",
    [
        {"base": "torch.optim.Adam", "lr": 1e-2, "rho": 0.3},
        {"base": "torch.optim.AdamW", "lr": 1e-2, "betas": [0.8, 0.9], "adaptive": True},
        {"base": "torch.optim.SGD", "lr": 0.02, "momentum": 0.9, "nesterov": True, "rho": 0.5},
    ],
    ids=lambda options: options["base"],
)
@pytest.mark.parametrize("revin", [True, False])
def test_steps(revin: bool, optimizer: dict[str, Any], dtype: torch.dtype) -> None:
    net, constructor = network((6, 14, 3, 5), revin)
    x, y = torch.randn(4, 8, 6, 14).double(), torch.randn(4, 8, 30).double()
    tensors: dict[str, Tensor] = {"in/x": x, "in/y": y}
    tensors |= {f"param/{n}": p.detach().clone() for n, p in net.named_parameters()}
    rho, adaptive = optimizer.get("rho", 0.05), optimizer.get("adaptive", False)
    rest = {k: v for k, v in optimizer.items() if k not in ("base", "rho", "adaptive")}
    base = getattr(torch.optim, optimizer["base"].rpartition(".")[2])(net.parameters(), **rest)
    first, second = [], []
    for step in range(4):
        first.append(loss_of(net, base, x[step], y[step]))
        if step == 0:
            tensors |= {f"grad/{n}": g for n, g in gradients_of(net).items()}
        moves = moves_of(net, rho, adaptive)
        move(net, moves, 1)
        if step == 0:
            tensors |= {f"mid/perturbed.{n}": p.clone() for n, p in net.named_parameters()}
        second.append(loss_of(net, base, x[step], y[step]))
        move(net, moves, -1)
        base.step()
    tensors |= {f"out/after_step3.{n}": p for n, p in net.named_parameters()}
    tensors |= {"out/loss_first": torch.stack(first), "out/loss_second": torch.stack(second)}
    made = fixture("sam_steps", net, constructor | {"optimizer": optimizer}, tensors)
    report = verify_case(made, dtype)
    assert report.passed, report.problem or report.worst


def loss_of(net: Official, base: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    base.zero_grad()
    loss = F.mse_loss(net(x).flatten(1), y)
    loss.backward()
    return loss.detach()


def gradients_of(net: Official) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


def moves_of(net: Official, rho: float, adaptive: bool) -> dict[str, Tensor]:
    gradients, weights = gradients_of(net), dict(net.named_parameters())
    size = {n: weights[n].abs() if adaptive else 1.0 for n in gradients}
    norm = torch.stack([(size[n] * g).norm() for n, g in gradients.items()]).norm()
    return {n: size[n] ** 2 * g * rho / (norm + 1e-12) for n, g in gradients.items()}


@torch.no_grad()
def move(net: Official, moves: dict[str, Tensor], sign: int) -> None:
    for name, weight in net.named_parameters():
        if name in moves:
            weight.add_(moves[name], alpha=sign)
