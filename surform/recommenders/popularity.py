"""The rank by popularity: how often a category was taken before; a sanity row."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.recommenders.feature_inputs import check_ids

__all__ = ["Popularity"]


class Popularity(nn.Module):
    """Logits (B, tasks) of the smoothed share of positive labels among those of one feature's id.

    It counts, and has nothing to train: call `observe` with the training data once. The usual
    non-personal baseline, e.g. in Dacrema et al., 2019, arXiv 1907.06902.

    Args:
        vocab_sizes: ids of each single-valued feature.
        multi_vocab_sizes, dense_features: not looked at.
        tasks: labels.
        feature: number of the feature whose ids are counted: that of the item.
        prior: how many samples with the average share an id is thought to have had before.
    """

    shown: Tensor
    taken: Tensor
    sizes: Tensor

    @record_arguments
    def __init__(
        self,
        vocab_sizes: tuple[int, ...],
        multi_vocab_sizes: tuple[int, ...] = (),
        dense_features: int = 0,
        *,
        tasks: int = 1,
        feature: int = 0,
        prior: float = 10.0,
    ) -> None:
        super().__init__()
        at_least(1, tasks=tasks)
        at_least(0, feature=feature)
        if feature >= len(vocab_sizes):
            raise ValueError(
                f"feature is {feature}, but must be the number of one of {len(vocab_sizes)} "
                "single-valued features"
            )
        if not prior > 0:
            raise ValueError(f"prior is {prior}, but must be above 0")
        self.feature, self.prior = feature, prior
        self.register_buffer("sizes", torch.tensor(vocab_sizes), persistent=False)
        counts = torch.zeros(vocab_sizes[feature], tasks, dtype=torch.float64)
        self.register_buffer("shown", counts)
        self.register_buffer("taken", counts.clone())

    @torch.no_grad()
    def observe(self, categorical: Int[Tensor, "b n"], labels: Float[Tensor, "b t"]) -> None:
        """Count a batch; a label that is NaN says nothing and does not count.

        Raises:
            ValueError: other shapes, ids that a feature does not have, labels beside 0 and 1.
        """
        ids = check_ids(categorical, self.sizes)[:, self.feature]
        if tuple(labels.shape) != (len(ids), self.taken.shape[1]):
            raise ValueError(
                f"labels has shape {tuple(labels.shape)}, but must be "
                f"({len(ids)}, {self.taken.shape[1]})"
            )
        known = ~labels.isnan()
        wrong = known & (labels != 0) & (labels != 1)
        if bool(wrong.any()):
            row, task = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"row {row} has the label {labels[row, task]:g} of task {task}, but labels are 0 "
                "or 1, or NaN where nothing is known"
            )
        self.shown.index_add_(0, ids, known.to(self.shown.dtype))
        self.taken.index_add_(0, ids, labels.nan_to_num(0.0).to(self.taken.dtype))

    def forward(
        self,
        categorical: Int[Tensor, "b n"],
        dense: Float[Tensor, "b m"] | None = None,
        values: Int[Tensor, " v"] | None = None,
        lengths: Int[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b t"]:
        """Logits; ids that were never seen get the average share."""
        ids = check_ids(categorical, self.sizes)[:, self.feature]
        average = (self.taken.sum(0) + 0.5) / (self.shown.sum(0) + 1)
        share = (self.taken[ids] + self.prior * average) / (self.shown[ids] + self.prior)
        return torch.logit(share).to(torch.get_default_dtype())
