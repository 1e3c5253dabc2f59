"""What a training run takes in memory, measured on a few samples before it starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from surform.training.live_memory import LiveMemory
from surform.training.randomness import rewind
from surform.training.shards import part_bytes

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = ["MemoryEstimate", "free_memory", "measure_memory", "spoken"]

# Beside the tensors: what libraries (FFT, convolutions) use inside, and gaps between allocations.
# Measured on the CPU for FactFormer 0.9 to 1.0, Galerkin 1.4 to 1.6, iTransformer 1.2, CARD 1.35.
_CPU_OVERHEAD = 1.25
_GPU_OVERHEAD = 1.1
_SAMPLES = (2, 4)  # of the measured passes; norms over a batch refuse a single one
_GROUPS = (  # control groups, of both versions: folder, limit, use, and pages that are given back
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes per process, on the device that trains.

    Args:
        weights: parameters and buffers (held already).
        gradients: one per trained parameter.
        optimizer: its state; and the moving average of the weights.
        batch: what forward and backward pass of one batch make, gradients apart.
        per_sample: how much of that each sample adds.
        batch_size: of this process.
        loader: chunks of files and batches that wait; in the machine's memory.
        data: data held in the machine's memory.
        free: what the device has free now; None where that is unknown.
        processes: that share the device's memory.
    """

    weights: int
    gradients: int
    optimizer: int
    batch: int
    per_sample: float
    batch_size: int
    loader: int
    data: int
    free: int | None
    processes: int
    device: str

    @property
    def more(self) -> int:
        """What training adds to what is held already."""
        on_cpu = self.loader if self.device == "cpu" else 0
        return self.gradients + self.optimizer + self.batch + on_cpu

    def text(self) -> str:
        """One line: the sum, and its parts."""
        parts = [
            f"weights {spoken(self.weights)}",
            f"gradients {spoken(self.gradients)}",
            f"optimizer {spoken(self.optimizer)}",
            f"a batch of {self.batch_size} {spoken(self.batch)}",
        ]
        parts += [f"data {spoken(self.data)}"] * bool(self.data)
        parts += [f"loader {spoken(self.loader)}"] * bool(self.loader)
        each = " in each of them" if self.processes > 1 else ""
        free = "" if self.free is None else f"; {spoken(self.free)} free"
        total = self.more + self.weights + (self.data if self.device == "cpu" else 0)
        where = "" if self.device == "cpu" else f" on {self.device}"
        return f"memory{where}: about {spoken(total)}{each} ({', '.join(parts)}){free}"

    def warning(self) -> str:
        """What to do where it does not fit, in one sentence; "" where it does."""
        if self.free is None or self.more * self.processes <= self.free:
            return ""
        rest = self.free / self.processes - (self.more - self.batch)
        fixed = self.batch - self.per_sample * self.batch_size
        fits = int((rest - fixed) // self.per_sample) if self.per_sample > 0 else 0
        advice = f"data.batch_size {fits} fits" if fits > 0 else "take a smaller network or grid"
        if 0 < fits < self.batch_size:
            advice += f", with trainer.accumulate_grad_batches {-(-self.batch_size // fits)}"
        count = f"{self.processes} processes need" if self.processes > 1 else "training needs"
        return (
            f"{count} about {spoken(self.more * self.processes)} more, but {spoken(self.free)} are "
            f"free: {advice}"
        )


def measure_memory(trainer: Trainer, task: Any) -> MemoryEstimate | None:
    """The estimate for a run that is set up; None where a batch cannot be cut from its data.

    Two batches of a few samples (of meshes the largest) go forward and backward; the batch's memory
    grows in a straight line from there. Weights, buffers, gradients and random numbers are left as
    they were.
    """
    trainer.fit_loop.setup_data()
    loader: Any = trainer.train_dataloader
    order = getattr(loader, "sampler", None)
    batch_size = getattr(order, "batch_size", None)
    if getattr(loader, "batch_size", 0) is not None or batch_size is None:
        return None
    most = min(batch_size, len(loader.dataset))
    counts = sorted({min(count, most) for count in _SAMPLES})
    longest = _longest(loader.dataset, counts[-1])
    found = _passes(trainer, task, loader.dataset, [longest[:count] for count in counts])
    grown, more = found[-1] - found[0], counts[-1] - counts[0]
    slope = grown / more if more else found[0] / counts[0]
    batch = found[0] + slope * (batch_size - counts[0])
    device = task.device
    overhead = _CPU_OVERHEAD if device.type == "cpu" else _GPU_OVERHEAD
    trained = sum(part_bytes(p) for p in task.parameters() if p.requires_grad)
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return MemoryEstimate(
        weights=sum(map(part_bytes, (*task.parameters(), *task.buffers()))),
        gradients=trained,
        optimizer=round(trained * (_state_ratio(task) + bool(task.ema_decay))),
        batch=round(overhead * batch),
        per_sample=overhead * slope,
        batch_size=batch_size,
        loader=_waiting(loader, batch_size),
        data=getattr(data, "held_bytes", lambda: 0)(),
        free=free_memory(device),
        processes=trainer.num_devices if device.type == "cpu" else 1,
        device=str(device),
    )


def _longest(windows: Any, count: int) -> list[int]:
    """Numbers of the samples that take most: those with most points, where these differ."""
    lengths = getattr(windows, "lengths", None)
    if lengths is None:
        return list(range(count))
    return np.argsort(-lengths, kind="stable")[:count].tolist()


def _passes(trainer: Trainer, task: Any, windows: Any, batches: list[list[int]]) -> list[int]:
    """Bytes that a forward and backward pass of these samples each makes beside gradients."""
    again = rewind({task.device})
    buffers = [(b, b.clone()) for b in task.buffers()]
    training, task.rehearsal = task.training, True
    task.train()
    found = []
    try:
        with torch.enable_grad(), torch.compiler.set_stance("force_eager"):
            for numbers in (batches[0], *batches):  # the first makes gradients and what is kept
                batch = trainer.precision_plugin.convert_input(windows[numbers])
                batch = trainer.strategy.batch_to_device(batch)
                found.append(_peak(trainer, task, batch))
    finally:
        task.rehearsal = False
        task.train(training)
        task.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        again()
    return found[1:]


def _peak(trainer: Trainer, task: Any, batch: Any) -> int:
    """Most bytes that one forward and backward pass adds."""
    device: torch.device = task.device
    memory = LiveMemory(_held(task, batch)) if device.type != "cuda" else nullcontext()
    held = 0
    if device.type == "cuda":
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    with memory:
        with trainer.precision_plugin.train_step_context():
            loss = task.training_loss(batch)[1]
        loss.backward()
    if isinstance(memory, LiveMemory):
        return memory.most
    return torch.cuda.max_memory_allocated(device) - held


def _held(task: Any, batch: Any) -> Iterator[Tensor]:
    for weight in task.parameters():
        yield weight
        if weight.grad is not None:
            yield weight.grad
    yield from task.buffers()
    yield from (value for value in tree_leaves(vars(batch)) if isinstance(value, Tensor))


def _state_ratio(task: Any) -> float:
    """Bytes that the task's optimizer keeps per byte of weights, tried on a matrix."""
    weight = nn.Parameter(torch.zeros(64, 64))
    weight.grad = torch.ones_like(weight)

    def closure() -> Tensor:
        weight.grad = torch.ones_like(weight)
        return weight.new_zeros(())

    try:
        optimizer = task.optimizer_factory([weight])
        with LiveMemory([weight]) as memory:
            optimizer.step(closure)
            weight.grad = None
    except (RuntimeError, ValueError):  # one that wants other weights: as Adam does
        return 2.0
    return memory.now / (weight.numel() * weight.element_size())


def _waiting(loader: Any, batch_size: int) -> int:
    """Bytes of chunks of files that are kept, and of batches that workers have ready."""
    cache = getattr(getattr(loader.dataset, "store", None), "cache", None)
    workers = loader.num_workers
    kept = cache.capacity * cache.blocks.nbytes * max(workers, 1) if cache is not None else 0
    if not workers:
        return kept
    sample = loader.dataset[[0]]
    size = sum(v.nbytes for v in vars(sample).values() if isinstance(v, Tensor))
    return kept + workers * (loader.prefetch_factor or 2) * batch_size * size


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; on the CPU within the limit of the container, too."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not sys.platform.startswith("linux") or not table.is_file():
        return None
    lines = dict(line.split(":") for line in table.read_text().splitlines())
    limits = [left for left in map(_left, _GROUPS) if left is not None]
    return min([1024 * int(lines["MemAvailable"].split()[0]), *limits])


def _left(group: tuple[str, str, str, str]) -> int | None:
    """Bytes that a container's limit leaves: what is free, and pages of files that may go.

    None without a limit.
    """
    folder, most, used, files = group
    paths = [Path(folder, name) for name in (most, used, "memory.stat")]
    if not all(path.is_file() for path in paths):
        return None
    limit, current, table = (path.read_text() for path in paths)
    if not limit.strip().isdigit():
        return None
    counts = dict(line.split() for line in table.splitlines())
    return max(int(limit) - int(current) + int(counts.get(files, 0)), 0)


def spoken(count: float) -> str:
    """Bytes as people say them: 3.4 GB, 120 MB."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 9.95 or unit == "bytes" else f"{count:.2g} {unit}"
