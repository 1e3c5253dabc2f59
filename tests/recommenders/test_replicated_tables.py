"""Sparse gradients of tables in two processes: as in one process with the joint batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from surform import create_model
from surform.training.rowwise_adagrad import RowwiseAdagrad

STEPS, ROWS = 4, 6


def network(dtype: str) -> nn.Module:
    torch.manual_seed(0)
    given = {"vocab": (40, 5), "multi_vocab": (7,), "embedding_std": 0.5, "table_dtype": dtype}
    return create_model("hiformer", **given, sparse_tables=True)


def batch(step: int, rank: int) -> tuple[Tensor, None, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(10 * step + rank)
    ids = [torch.randint(size, (ROWS,), generator=chance) for size in (40, 5)]
    values = torch.randint(7, (2 * ROWS,), generator=chance)
    return torch.stack(ids, 1), None, values, torch.full((ROWS, 1), 2)


def train(net: nn.Module, table: nn.Parameter, ranks: list[int]) -> None:
    optimizer = RowwiseAdagrad([table], lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        outputs = [net(*batch(step, rank)) for rank in ranks]
        torch.cat(outputs).square().mean().backward()
        optimizer.step()


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    for dtype in ("float32", "bfloat16"):
        net = network(dtype)
        train(DistributedDataParallel(net), net.features.table, [rank])  # type: ignore[union-attr, arg-type]
        torch.save(net.features.table.detach(), f"{folder}/{dtype}{rank}.pt")  # type: ignore[union-attr]
    dist.destroy_process_group()


@pytest.mark.slow
def test_replicas_stay_alike_and_equal_one_process(tmp_path: Path) -> None:
    mp.spawn(process, (str(tmp_path),), nprocs=2)
    for dtype, error in (("float32", 1e-6), ("bfloat16", 2**-7)):
        first, second = (torch.load(tmp_path / f"{dtype}{rank}.pt") for rank in range(2))
        assert torch.equal(first, second)
        net = network(dtype)
        before = net.features.table.detach().clone()  # type: ignore[union-attr, operator]
        train(net, net.features.table, [0, 1])  # type: ignore[union-attr, arg-type]
        expected = net.features.table.detach()  # type: ignore[union-attr, operator]
        assert not torch.equal(expected, before)
        assert torch.allclose(first.float(), expected.float(), rtol=error, atol=error)
