"""Which windows make which batch: a pure function of (seed, epoch, batch)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DistributedSampler

__all__ = ["BatchOrder", "block_order", "order", "require_windows"]


def order(seed: int, epoch: int, windows: int) -> np.ndarray:
    """The shuffled window numbers of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(windows)


def block_order(
    seed: int, epoch: int, blocks: np.ndarray, joint: int, phases: int = 1
) -> np.ndarray:
    """The shuffled window numbers of one epoch, such that few blocks are in use at a time.

    The blocks in random order, each with its windows in random order, make one row of windows,
    which is cut into `joint * phases` lanes of equal length. Batch k takes the next window of lanes
    k mod phases, k mod phases + phases, ...: the windows of a batch come from all over the row,
    those of a block are spread over batches, and a process (or one of up to `phases` workers of it)
    is done with a block before it needs many others.

    Args:
        blocks: the number of each window's block.
        joint: windows in a joint batch.
        phases: batches after which a lane has its turn again.
    """
    generator = np.random.default_rng([seed, epoch])
    _, block = np.unique(blocks, return_inverse=True)
    place = generator.permutation(int(block.max(initial=-1)) + 1)
    row = np.lexsort((generator.permutation(len(block)), place[block]))
    length = len(row) // (joint * phases)
    lanes = row[: joint * phases * length].reshape(joint, phases, length)
    return np.concatenate([lanes.transpose(2, 1, 0).ravel(), row[lanes.size :]])


def require_windows(windows: int, ranks: int, what: str = "") -> None:
    """ValueError where some process would get no window; `what` names them: "validation "."""
    if windows < ranks:
        raise ValueError(
            f"{windows} {what}window{'s' * (windows != 1)} cannot be shared by {ranks} processes: "
            "take fewer (trainer.devices), or give more data"
        )


class BatchOrder(DistributedSampler):
    """The batches of one process, as lists of window numbers.

    The windows of an epoch are cut into joint batches of `batch_size` times `ranks`; each rank
    takes its part of every joint batch, so that several processes together see what one process
    with the joint batch size sees.

    Training shuffles every epoch and leaves out the last, incomplete joint batch, unless
    `drop_last` is false. Evaluation keeps the order and neither drops nor repeats a window: where
    the windows do not fill the last joint batches, all ranks still make the same number of batches,
    some one window shorter than others, and figures must be averaged with the number of windows as
    weight.

    It is a `DistributedSampler` so that Lightning leaves it alone and tells it the epoch. Use it
    as `DataLoader(windows, sampler=BatchOrder(...), batch_size=None)`.

    Args:
        windows: how many there are.
        batch_size: per process.
        seed: of the shuffling.
        training: shuffle, and drop the incomplete batch.
        drop_last: whether training leaves out the incomplete joint batch.
        rank: of this process.
        ranks: how many processes.
        blocks: `(windows,)`: windows of one number are cheaper to read one soon after the other,
            see `block_order`; None shuffles them all alike.
        phases: see `block_order`.
    """

    def __init__(
        self,
        windows: int,
        batch_size: int,
        seed: int = 0,
        *,
        training: bool = True,
        drop_last: bool = True,
        rank: int = 0,
        ranks: int = 1,
        blocks: np.ndarray | None = None,
        phases: int = 1,
    ) -> None:
        super().__init__(range(windows), ranks, rank, shuffle=training, seed=seed)  # type: ignore[arg-type]
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        require_windows(windows, ranks)
        self.blocks, self.phases = blocks, phases
        self.windows, self.training = windows, training
        self._whole = training and drop_last
        # fewer windows than one joint batch: one smaller batch instead of none
        self.batch_size = min(batch_size, windows // ranks) if self._whole else batch_size
        self._first = (0, 0)

    def start(self, epoch: int, batch: int) -> None:
        """Begin `epoch` with batch number `batch`; other epochs begin with their first."""
        if not 0 <= batch <= len(self):
            raise ValueError(f"batch {batch} of {len(self)} in epoch {epoch}")
        self._first = (epoch, batch)
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in a whole epoch, the same for every rank."""
        joint = self.batch_size * self.num_replicas
        if self._whole:
            return self.windows // joint
        return min(-(-self.windows // joint), self.windows // self.num_replicas)

    def sequence(self, epoch: int) -> np.ndarray:
        """All windows in the order in which they are cut into joint batches."""
        if not self.training:
            return np.arange(self.windows)
        if self.blocks is None:
            return order(self.seed, epoch, self.windows)
        joint = self.batch_size * self.num_replicas
        return block_order(self.seed, epoch, self.blocks, joint, self.phases)

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """All batches of this rank in one epoch."""
        sequence = self.sequence(epoch)
        for first, end in self.bounds():
            yield sequence[first:end].tolist()

    def bounds(self) -> Iterator[tuple[int, int]]:
        """First place and end of each batch of this rank in the sequence of an epoch."""
        ranks, joint = self.num_replicas, self.batch_size * self.num_replicas
        if self._whole:
            ends = np.arange(len(self) * ranks + 1) * (joint // ranks)
        else:
            ends = self._even_ends(joint)
        for batch in range(len(self)):
            part = batch * ranks + self.rank
            yield int(ends[part]), int(ends[part + 1])

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = self._first
        begin = first if epoch == self.epoch else 0
        for batch, windows in enumerate(self.batches(self.epoch)):
            if batch >= begin:
                yield windows

    def _even_ends(self, joint: int) -> np.ndarray:
        """Full joint batches as long as every later batch still gets a window per rank."""
        sizes, left = [], self.windows
        for later in range(len(self) - 1, -1, -1):
            size = max(min(joint, left - later * self.num_replicas), 0) if later else left
            sizes += [
                size // self.num_replicas + (rank < size % self.num_replicas)
                for rank in range(self.num_replicas)
            ]
            left -= size
        return np.concatenate([[0], np.cumsum(sizes)])
