"""How many atoms and edges a potential answers about at once: measured while it works."""

from __future__ import annotations

from collections.abc import Callable

import torch

from surform.atomistic.equiformer_v2 import Energies
from surform.atomistic.evaluator import Evaluator
from surform.training.live_memory import LiveMemory
from surform.training.memory import free_memory

__all__ = ["BatchRoom"]

_SHARE = 0.5  # of the free memory: libraries and gaps between allocations take some, too


class BatchRoom:
    """Room for atoms and edges in the memory that is free.

    The first calls, and each that is twice as large as all before, are measured.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.largest = 0
        self.most: float = 0  # atoms and edges; 0 until something was measured

    def call(self, size: int, function: Callable[[], Energies]) -> Energies:
        """function(), which works on so many atoms and edges.

        Raises:
            MemoryError: the device has too little for them.
        """
        try:
            return self._measured(size, function) if size >= 2 * self.largest else function()
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                f"{size} atoms and edges at once are too many: give a smaller batch_size"
            ) from error

    def _measured(self, size: int, function: Callable[[], Energies]) -> Energies:
        device = self.evaluator.device
        free = free_memory(device)
        if device.type == "cuda":
            held = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            answer = function()
            taken = torch.cuda.max_memory_allocated(device) - held
        else:
            model = self.evaluator.model
            with LiveMemory([*model.parameters(), *model.buffers()]) as memory:
                answer = function()
            taken = memory.most
        self.largest = max(size, 1)
        if free is None:
            self.most = max(self.most, size)
        else:
            self.most = _SHARE * free * size / max(taken, 1)
        return answer
