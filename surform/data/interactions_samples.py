"""The rows of one split in memory, as a data set of whole batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_table import InteractionsTable

__all__ = ["InteractionsSamples"]


class InteractionsSamples:
    """Some rows of an encoded table.

    Args:
        table: encoded rows.
        numbers: of the rows of this split, in its order.
    """

    def __init__(self, table: InteractionsTable, numbers: np.ndarray) -> None:
        self.table, self.numbers = table, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, asked: Sequence[int]) -> InteractionsBatch:
        index = np.asarray(asked, dtype=np.int64)
        return self.table.batch(self.numbers[index], index)
