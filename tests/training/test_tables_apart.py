"""Tables with an optimizer of their own: the same steps as two, one state, exact resuming."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR

from surform.training.rowwise_adagrad import RowwiseAdagrad
from surform.training.tables_apart import TablesApart


class Net(nn.Module):
    def __init__(self, sparse: bool = True, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.map = nn.Parameter(torch.randn(6, 3).to(dtype)), nn.Linear(3, 1)
        self.sparse = sparse

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rows = F.embedding(ids, self.table, sparse=self.sparse).float()
        return self.map(rows).square().mean()


def groups(net: Net) -> list[dict[str, Any]]:
    return [{"params": [net.table], "table": True}, {"params": list(net.map.parameters())}]


def apart(net: Net) -> TablesApart:
    return TablesApart(
        groups(net),
        dense_optimizer=lambda params: AdamW(params, lr=0.02),
        table_optimizer=lambda params: RowwiseAdagrad(params, lr=0.1),
    )


def learn(net: Net, step: Any, optimizers: list[Any], steps: range) -> None:
    for number in steps:
        for optimizer in optimizers:
            optimizer.zero_grad()
        net(torch.tensor([number % 6, (2 * number) % 6, 1])).backward()
        step()


def test_steps_are_those_of_the_two_optimizers() -> None:
    one, two = Net(), Net()
    joint = apart(one)
    learn(one, joint.step, [joint], range(7))
    dense = AdamW(two.map.parameters(), lr=0.02)
    tables = RowwiseAdagrad([two.table], lr=0.1)
    learn(two, lambda: (dense.step(), tables.step()), [dense, tables], range(7))
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_schedule_moves_both() -> None:
    joint = apart(Net())
    schedule = LambdaLR(joint, lambda step: 0.5**step)
    joint.step()
    schedule.step()
    assert [group["lr"] for group in joint.dense.param_groups] == [0.01]
    assert [group["lr"] for group in joint.tables.param_groups] == [0.05]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stored_state_continues_bit_for_bit(dtype: torch.dtype) -> None:
    whole = Net(dtype=dtype)
    optimizer = apart(whole)
    learn(whole, optimizer.step, [optimizer], range(10))
    first = Net(dtype=dtype)
    optimizer = apart(first)
    learn(first, optimizer.step, [optimizer], range(4))
    stored = copy.deepcopy(optimizer.state_dict())
    second = Net(dtype=dtype)
    second.load_state_dict(first.state_dict())
    optimizer = apart(second)
    optimizer.load_state_dict(stored)
    learn(second, optimizer.step, [optimizer], range(4, 10))
    for mine, theirs in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_closure_is_called_once_and_its_loss_returned() -> None:
    net = Net(sparse=False)
    optimizer, calls = apart(net), []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = net(torch.tensor([0, 1]))
        loss.backward()
        calls.append(loss.item())
        return loss

    assert optimizer.step(closure).item() == calls[0]
    assert len(calls) == 1


@pytest.mark.fault
@pytest.mark.parametrize("which", ["tables", "other weights"])
def test_networks_without_both_kinds_are_refused(which: str) -> None:
    found = [g for g in groups(Net()) if bool(g.get("table")) is (which == "tables")]
    with pytest.raises(ValueError, match=f"the network has only {which}: take one optimizer"):
        TablesApart(found, lambda params: Adam(params), lambda params: SGD(params, lr=1.0))
