"""Gradients of two processes against those of one, for every model in one start of the two."""

from __future__ import annotations

import copy
import json
import socket
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.matrix.call import Call, reason
from benchmarks.matrix.recorded_calls import first_call

__all__ = ["gradients_of_two"]


def gradients_of_two(cases: dict[str, list[Path]]) -> dict[str, str]:
    """Model -> "yes", or why not. The second process weighs its loss twice, so that the mean of
    both gradients, which is what each must hold afterwards, is one and a half times that of one."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        spawn(_process, (port, cases, folder), nprocs=2)
        return json.loads((Path(folder) / "found.json").read_text())


def _process(rank: int, port: int, cases: dict[str, list[Path]], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = {name: _checked(name, paths, rank) for name, paths in cases.items()}
    if rank == 0:
        (Path(folder) / "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _checked(name: str, paths: list[Path], rank: int) -> str:
    call = first_call(name, paths)
    if call is None:
        return "its cases call parts of it"
    call = call.to(torch.float32)
    try:
        alone = _gradients(copy.deepcopy(call.model), call, 1.5)
        both = DistributedDataParallel(call.model, find_unused_parameters=True)
        shared = _gradients(both, call, 1.0 + rank)
    except Exception as error:
        return reason(error)
    largest = max(value.abs().max().item() for value in alone.values())
    error = max((shared[f"module.{k}"] - v).abs().max().item() for k, v in alone.items()) / largest
    return "yes" if error < 1e-4 else f"error {error:.0e}"


def _gradients(model: nn.Module, call: Call, weight: float) -> dict[str, Tensor]:
    torch.manual_seed(0)
    values = Call(model, call.arguments, call.keywords).run()
    loss: Any = sum(value.square().mean() for value in values if value.requires_grad)
    (weight * loss).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
