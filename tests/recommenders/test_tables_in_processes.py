"""Tables in two processes, as replicas or in parts: as in one process with the joint batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from surform import create_model
from surform.training.rowwise_adagrad import RowwiseAdagrad
from surform.training.sharded import shard
from surform.training.shards import gathered, like, whole

STEPS, ROWS = 4, 6


def network(dtype: str, sparse: bool = True) -> nn.Module:
    torch.manual_seed(0)
    given = {
        "vocab_sizes": (40, 5),
        "multi_vocab_sizes": (7,),
        "embedding_std": 0.5,
        "table_dtype": dtype,
    }
    return create_model("hiformer", **given, sparse_tables=sparse)


def batch(step: int, rank: int) -> tuple[Tensor, None, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(10 * step + rank)
    ids = [torch.randint(size, (ROWS,), generator=chance) for size in (40, 5)]
    values = torch.randint(7, (2 * ROWS,), generator=chance)
    return torch.stack(ids, 1), None, values, torch.full((ROWS, 1), 2)


def train(net: nn.Module, table: nn.Parameter, ranks: list[int]) -> None:
    steps(net, RowwiseAdagrad([table], lr=0.1), ranks, range(STEPS))


def steps(net: nn.Module, optimizer: RowwiseAdagrad, ranks: list[int], numbers: range) -> None:
    for step in numbers:
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
    in_parts(rank, folder)
    dist.destroy_process_group()


def in_parts(rank: int, folder: str) -> None:
    """Half the steps, state gathered and cut again, the other half."""
    net = network("float32", sparse=False)
    shard(net, init_device_mesh("cpu", (2,)))
    table: nn.Parameter = net.features.table  # type: ignore[union-attr, assignment]
    first = RowwiseAdagrad([table], lr=0.1)
    steps(net, first, [rank], range(STEPS // 2))
    state = gathered(first.state_dict(), keep=True)
    state["state"][0]["sum"] = like(state["state"][0]["sum"], table)
    second = RowwiseAdagrad([table], lr=0.1)
    second.load_state_dict(state)
    assert second.state[table]["sum"].to_local().numel() == 26
    steps(net, second, [rank], range(STEPS // 2, STEPS))
    torch.save(whole(table.detach()), f"{folder}/parts{rank}.pt")


@pytest.mark.slow
def test_replicas_and_parts_equal_one_process(tmp_path: Path) -> None:
    mp.spawn(process, (str(tmp_path),), nprocs=2)
    for name, error in (("float32", 1e-6), ("parts", 1e-6), ("bfloat16", 2**-7)):
        first, second = (torch.load(tmp_path / f"{name}{rank}.pt") for rank in range(2))
        assert torch.equal(first, second)
        net = network("bfloat16" if name == "bfloat16" else "float32")
        before = net.features.table.detach().clone()  # type: ignore[union-attr, operator]
        train(net, net.features.table, [0, 1])  # type: ignore[union-attr, arg-type]
        expected = net.features.table.detach()  # type: ignore[union-attr, operator]
        assert not torch.equal(expected, before)
        assert torch.allclose(first.float(), expected.float(), rtol=error, atol=error)
