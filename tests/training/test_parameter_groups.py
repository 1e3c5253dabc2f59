"""Groups of parameters: who decays, who learns how fast, and that runs keep to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from surform.operators.task import FieldTask
from surform.training.parameter_groups import decay_groups, scale_rates
from surform.training.schedules import Constant, OneCycle
from tests.training.toy import Smooth, ToyData, trainer


class Layered(nn.Module):
    """Positions, two layers, a head."""

    layers = 3
    undecayed = ("positions",)
    time_window = False

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 4))
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.norm = nn.LayerNorm(4)

    def layer_of(self, name: str) -> int:
        if name == "positions":
            return 0
        return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else self.layers


def table(net: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Name -> (share of the learning rate, weight decay)."""
    names = {id(p): name for name, p in net.named_parameters()}
    return {
        names[id(p)]: (group["lr_scale"], group.get("weight_decay", 0.1))
        for group in groups
        for p in group["params"]
    }


def test_rates_fall_by_layer_and_only_matrices_decay():
    net = Layered()
    assert table(net, decay_groups(net, 0.5)) == {
        "positions": (0.125, 0.0),
        "blocks.0.weight": (0.25, 0.1),
        "blocks.0.bias": (0.25, 0.0),
        "blocks.1.weight": (0.5, 0.1),
        "blocks.1.bias": (0.5, 0.0),
        "norm.weight": (1.0, 0.0),
        "norm.bias": (1.0, 0.0),
    }


def test_without_layer_decay_any_network_goes_and_frozen_weights_are_left_out():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    net[0].requires_grad_(False)
    assert table(net, decay_groups(net)) == {"1.weight": (1.0, 0.1), "1.bias": (1.0, 0.0)}


def test_one_cycle_gives_each_group_its_share_of_the_peak():
    net = Layered()
    optimizer = AdamW(decay_groups(net, 0.5), lr=1.0)
    scale_rates(optimizer)
    OneCycle(max_lr=0.2, div_factor=10).build(optimizer, 100)
    shares = [group["lr_scale"] for group in optimizer.param_groups]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
        [0.02 * share for share in shares]
    )


class GroupedTask(FieldTask):
    def trained(self) -> list[Any]:
        return decay_groups(self.surrogate.net)


def test_a_run_trains_by_groups(tmp_path: Path):
    torch.manual_seed(0)
    net = Smooth()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}

    def only_decay(groups: Any) -> AdamW:
        optimizer = AdamW(groups, lr=1e-12, weight_decay=1e10)  # a step takes off 1 percent
        assert len(optimizer.param_groups) == 2
        return optimizer

    run = trainer(tmp_path, max_steps=1)
    run.fit(GroupedTask(net=net, optimizer=only_decay, schedule=Constant()), ToyData())
    for name, value in net.named_parameters():
        expected: Tensor = before[name] * (0.99 if name.endswith("weight") else 1.0)
        torch.testing.assert_close(value.detach(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.fault
def test_impossible_decays_are_named():
    with pytest.raises(ValueError, match=r"layer_decay is 0, but must lie in \(0, 1\]"):
        decay_groups(Layered(), 0)
    with pytest.raises(ValueError, match="Linear does not say which layer"):
        decay_groups(nn.Linear(2, 2), 0.9)
