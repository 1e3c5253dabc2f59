"""How many processor threads and training steps the demo can afford on this machine, now."""

from __future__ import annotations

import os
import time
from typing import Any

__all__ = ["BUDGET", "pace"]

_TRIALS = 12
BUDGET = 470.0  # seconds of training, so that the whole demo ends within ten minutes
_EXTRA = 2.2  # of pushforward, data loading, optimizer and validation over the bare network


def pace(config: dict[str, Any], grid: tuple[int, ...], steps: int) -> tuple[int, int]:
    """The faster of one thread and all of them for this network, and the steps that fit.

    A second thread helps on a quiet machine; beside another program it makes small networks several
    times slower. The steps lie between four fifths and one and a half times `steps`, the recipe's:
    the schedule stretches with them, and what exceeds `pushforward_after` trains as before.
    """
    import torch

    from surform.registry import import_object

    network = config["model"]["init_args"]["net"]
    batch = config["data"]["init_args"]["batch_size"]
    module, _, name = network["class_path"].rpartition(".")
    net = import_object(f"{module}:{name}")(**network["init_args"])
    u = torch.randn(batch, network["init_args"]["input_steps"], *grid, 1)
    coordinates = tuple(torch.linspace(0, 6.28, n) for n in grid)
    before = torch.get_num_threads()
    seconds: dict[int, float] = {}
    for threads in sorted({1, os.cpu_count() or 1, before}):
        torch.set_num_threads(threads)
        net(u, coordinates).square().mean().backward()
        began = time.monotonic()
        for _ in range(_TRIALS):
            net(u, coordinates).square().mean().backward()
        seconds[threads] = (time.monotonic() - began) / _TRIALS
    torch.set_num_threads(before)
    threads = min(seconds, key=seconds.__getitem__)
    affordable = int(BUDGET / (_EXTRA * seconds[threads]))
    return threads, max(steps * 4 // 5, min(steps * 3 // 2, affordable))
