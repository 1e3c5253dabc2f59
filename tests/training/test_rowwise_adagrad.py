"""Row-wise Adagrad: the formula, sparse and dense gradients alike, wrong arguments."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from surform import create_model
from surform.training.rowwise_adagrad import RowwiseAdagrad


def steps(table: torch.Tensor, sparse: bool) -> torch.Tensor:
    table = table.clone().requires_grad_()
    optimizer = RowwiseAdagrad([table], lr=0.1)
    for ids in ([0, 2, 2], [2, 4, 0], [1, 1, 1]):
        optimizer.zero_grad()
        F.embedding(torch.tensor(ids), table, sparse=sparse).pow(3).sum().backward()
        optimizer.step()
    return table.detach()


def test_it_is_the_formula_row_by_row() -> None:
    table, rows = torch.randn(5, 3, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    expected = table.clone()
    for ids in ([0, 2, 2], [2, 4, 0], [1, 1, 1]):
        slope = torch.zeros_like(table)
        for i in ids:
            slope[i] += 3 * expected[i] ** 2
        for i in set(ids):
            rows[i] += slope[i].square().mean()
            expected[i] -= 0.1 * slope[i] / (rows[i].sqrt() + 1e-8)
    assert torch.allclose(steps(table, sparse=True), expected, rtol=1e-12)
    assert torch.allclose(steps(table, sparse=False), expected, rtol=1e-12)
    assert torch.equal(steps(table, sparse=True)[3], table[3])


def test_networks_of_sparse_tables_learn_alike() -> None:
    torch.manual_seed(0)
    nets = [
        create_model("hiformer", vocab_sizes=(50, 9), multi_vocab_sizes=(7,), sparse_tables=sparse)
        for sparse in (False, True)
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    ids = torch.stack((torch.randint(50, (16,)), torch.randint(9, (16,))), 1)
    values, lengths = torch.randint(7, (24,)), torch.tensor([[1], [2]] * 8)
    for net in nets:
        optimizer = RowwiseAdagrad([net.features.table], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            net(ids, None, values, lengths).square().sum().backward()
            assert net.features.table.grad.is_sparse == net.features.sparse
            optimizer.step()
    first, second = (net.features.table.detach() for net in nets)
    assert torch.allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("sparse", [True, False])
def test_steps_too_small_for_bfloat16_add_up(sparse: bool) -> None:
    """1 - 200 * 2e-4: rounding to the nearest would leave 1, whose neighbour is 0.004 away."""
    table = torch.ones(4, 1 << 14, dtype=torch.bfloat16, requires_grad=True)
    optimizer = RowwiseAdagrad([table], lr=2e-4, initial=1e4)
    for _ in range(200):
        optimizer.zero_grad()
        (100 * F.embedding(torch.tensor([0, 2]), table, sparse=sparse).sum()).backward()
        optimizer.step()
    expected = 1 - sum(2e-4 / (2 + step) ** 0.5 for step in range(200))
    assert table[0].float().mean().item() == pytest.approx(expected, abs=2e-4)
    assert torch.equal(table[1], torch.ones(1 << 14, dtype=torch.bfloat16))
    assert optimizer.state[table]["sum"].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resumed_runs_go_on_exactly(dtype: torch.dtype) -> None:
    def run(table: torch.Tensor, optimizer: RowwiseAdagrad, steps: range) -> None:
        for step in steps:
            optimizer.zero_grad()
            ids = torch.tensor([step % 5, 2, 2])
            F.embedding(ids, table, sparse=True).float().pow(3).sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    table = torch.randn(5, 8).to(dtype)
    whole, half = table.clone().requires_grad_(), table.clone().requires_grad_()
    run(whole, RowwiseAdagrad([whole], lr=0.1), range(6))
    first = RowwiseAdagrad([half], lr=0.1)
    run(half, first, range(3))
    again = half.detach().clone().requires_grad_()
    second = RowwiseAdagrad([again], lr=0.1)
    second.load_state_dict(first.state_dict())
    torch.manual_seed(7)
    run(again, second, range(3, 6))
    assert torch.equal(again, whole)


@pytest.mark.fault
def test_what_it_cannot_train() -> None:
    with pytest.raises(ValueError, match=r"is for matrices, but was given \(3,\)"):
        RowwiseAdagrad([torch.zeros(3, requires_grad=True)])
    trained = RowwiseAdagrad([torch.zeros(2, 2, requires_grad=True)])
    with pytest.raises(ValueError, match=r"is for matrices, but was given \(4,\)"):
        trained.add_param_group({"params": [torch.zeros(4, requires_grad=True)]})
    with pytest.raises(ValueError, match="lr is nan, but must be 0 or more"):
        RowwiseAdagrad([torch.zeros(3, 2, requires_grad=True)], lr=float("nan"))
    with pytest.raises(ValueError, match="lr is -1, but must be 0 or more"):
        RowwiseAdagrad([torch.zeros(3, 2, requires_grad=True)], lr=-1)
