"""What a ranker loses by being made smaller for serving, on rows whose labels are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_encoder import InteractionsEncoder
from surform.data.interactions_opening import open_table, trained_types
from surform.recommenders.ranker import Ranker
from surform.recommenders.ranking_scores import auc, log_loss

__all__ = ["Compared", "compare", "file_batches", "split_batches", "table_bytes"]

_ROWS = 4096  # in one call of the networks


@dataclass(frozen=True)
class Compared:
    """Figures of one label, before and after.

    Args:
        rows: whose label is known.
        largest: difference of two probabilities.
    """

    label: str
    rows: int
    auc: float
    served_auc: float
    log_loss: float
    served_log_loss: float
    largest: float

    @property
    def lost(self) -> float:
        """AUC, negative where the served model orders better."""
        return self.auc - self.served_auc

    def __str__(self) -> str:
        return (
            f"{self.label}: AUC {self.served_auc:.5f}, {_loss(self.lost)}; log loss "
            f"{self.served_log_loss:.5f} instead of {self.log_loss:.5f}; probabilities differ by "
            f"at most {self.largest:.1e} ({self.rows:,} rows)"
        )


def file_batches(about: InteractionsDescription, source: Any) -> Iterator[InteractionsBatch]:
    """The rows of files with labels, encoded as in training; a part is in memory at a time.

    Raises:
        ValueError: a column is missing, or holds something else.
    """
    log, _ = open_table(source, types=trained_types(about))
    columns = (*about.categorical, *about.multivalued, *about.dense, *about.labels)
    log.require(columns)
    encoder = InteractionsEncoder(replace(about, group=""))
    for part in log.parts(list(columns)):
        table = encoder.encode(part.batch, part.file, part.within)
        yield table.batch(slice(None), np.arange(len(table)))


def split_batches(data: Any, about: InteractionsDescription) -> Iterator[InteractionsBatch]:
    """The test rows of a data module (its validation rows where it has none), read as `about`."""
    data.read_as(about)
    split = "test" if "test" in data.split_rows() else "validation"
    yield from data.in_order(split, _ROWS)


@torch.inference_mode()
def compare(
    model: Ranker, served: Ranker, batches: Iterable[InteractionsBatch], where: str
) -> list[Compared]:
    """Figures of each label for two models in evaluation mode; rows of unknown label do not count.

    Args:
        where: what the rows are from, for messages.

    Raises:
        ValueError: a label that is the same in all rows, which tells no AUC.
    """
    found, labels = [], []
    for batch in batches:
        for part in batch.parts(_ROWS):
            pair = (each.outputs(part).double().cpu() for each in (model, served))
            found.append(torch.stack(tuple(pair)))
            labels.append(part.labels)
    if not found:
        raise ValueError(f"{where} has no rows to measure on")
    chances, known = torch.cat(found, 1).numpy(), torch.cat(labels).numpy()
    names = model.description.labels if model.description is not None else ()
    before, after = chances
    return [
        _compared(name, known[:, i], before[:, i], after[:, i], where)
        for i, name in enumerate(names)
    ]


def table_bytes(model: Ranker) -> int:
    """What tables of embeddings, or of what they were folded into, take in memory."""
    names = ("table", "scales")
    state = model.net.state_dict().items()
    return sum(v.nbytes for n, v in state if n.rpartition(".")[2] in names)


def _compared(
    label: str, known: np.ndarray, before: np.ndarray, after: np.ndarray, where: str
) -> Compared:
    rows = ~np.isnan(known)
    y, before, after = known[rows], before[rows], after[rows]
    if not 0 < y.sum() < len(y):
        raise ValueError(
            f"{label} has fewer than two values in {where}: give rows of both, or no AUC is known"
        )
    return Compared(
        label=label,
        rows=len(y),
        auc=auc(y, before),
        served_auc=auc(y, after),
        log_loss=log_loss(y, before),
        served_log_loss=log_loss(y, after),
        largest=float(np.abs(before - after).max()),
    )


def _loss(lost: float) -> str:
    return f"{-lost:.5f} won" if round(lost, 5) < 0 else f"{abs(lost):.5f} lost"
