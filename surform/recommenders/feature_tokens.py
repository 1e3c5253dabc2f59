"""Mixed features as tokens of one width: a table per feature, and a network for the numbers.

Gui et al., "Hiformer: Heterogeneous Feature Interactions Learning with Transformers for Recommender
Systems", 2023 (arXiv 2311.05884), section on preprocessing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.checks import at_least
from surform.recommenders.feature_inputs import check_dense, check_ids, check_lists, row_starts

__all__ = ["FeatureTokens"]


class FeatureTokens(nn.Module):
    """(B, n, dim): single-valued features, multi-valued ones (mean of their rows), numbers.

    The tables of all features are the rows of one, `table`, single-valued features first: one
    lookup serves all. A sample without any value of a multi-valued feature has zeros there.

    Args:
        vocab: rows of each single-valued feature; row 0 is by convention that of unknown ones.
        multi_vocab: rows of each multi-valued feature.
        dense_features: numbers per sample, standardised.
        dense_tokens: tokens that the network of the numbers makes of them.
        dense_hidden: width of its hidden layer; exact GELU between.
        embedding_std: of the tables' first values.
        sparse: give the tables sparse gradients, of the rows that were looked up.
    """

    sizes: Tensor
    starts: Tensor

    def __init__(
        self,
        vocab: Sequence[int],
        multi_vocab: Sequence[int] = (),
        dense_features: int = 0,
        dense_tokens: int = 0,
        dense_hidden: int = 64,
        *,
        dim: int,
        embedding_std: float = 0.01,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim)
        at_least(0, dense_features=dense_features, dense_tokens=dense_tokens)
        at_least(1, **{f"vocab[{i}]": size for i, size in enumerate(vocab)})
        at_least(1, **{f"multi_vocab[{i}]": size for i, size in enumerate(multi_vocab)})
        if bool(dense_features) != bool(dense_tokens):
            raise ValueError(
                f"dense_features is {dense_features} and dense_tokens is {dense_tokens}, but "
                "numbers need tokens and tokens of numbers need numbers"
            )
        self.sparse = sparse
        self.single, self.multi = len(vocab), len(multi_vocab)
        self.dense_features, self.dense_tokens, self.dim = dense_features, dense_tokens, dim
        if not self.count:
            raise ValueError("vocab, multi_vocab and dense_features are empty: give some feature")
        rows = (*vocab, *multi_vocab)
        self.table = nn.Parameter(torch.randn(sum(rows), dim) * embedding_std)
        self.register_buffer("sizes", torch.tensor(rows, dtype=torch.int64), persistent=False)
        self.register_buffer("starts", row_starts(rows), persistent=False)
        self.dense = _dense_network(dense_features, dense_hidden, dense_tokens * dim)

    @property
    def count(self) -> int:
        """Tokens of a sample."""
        return self.single + self.multi + self.dense_tokens

    def forward(
        self,
        categorical: Int[Tensor, "b n"],
        dense: Float[Tensor, "b m"] | None = None,
        values: Int[Tensor, " v"] | None = None,
        lengths: Int[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Tokens; ValueError for inputs that do not fit, see `surform.recommenders.feature_inputs`.

        Args:
            categorical: ids of the single-valued features.
            dense: standardised numbers.
            values: ids of all multi-valued features: those of the first sample, feature by feature,
                then those of the second, ...
            lengths: how many of them belong to each sample and feature.
        """
        parts = []
        if self.single:
            parts.append(F.embedding(self.rows(categorical), self.table, sparse=self.sparse))
        batch = categorical.shape[0]
        if self.multi:
            parts.append(self.means(values, lengths, batch, self.table))
        if self.dense is not None:
            check_dense(dense, self.dense_features, batch)
            parts.append(self.dense(dense).unflatten(-1, (self.dense_tokens, self.dim)))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def rows(self, categorical: Int[Tensor, "b n"]) -> Int[Tensor, "b n"]:
        """Rows of the table for the ids of single-valued features."""
        return check_ids(categorical, self.sizes[: self.single]) + self.starts[: self.single]

    def means(
        self,
        values: Int[Tensor, " v"] | None,
        lengths: Int[Tensor, "b k"] | None,
        batch: int,
        table: Float[Tensor, "r w"],
    ) -> Float[Tensor, "b k w"]:
        """Means of rows of `table`, as long as ours, for the multi-valued features."""
        values, bags, bag = check_lists(values, lengths, self.sizes[self.single :], batch)
        rows = values + self.starts[self.single :][bag % self.multi]
        if torch.compiler.is_exporting():  # programs in ONNX have no bags
            sums = table.new_zeros(bags.shape[0], table.shape[1]).index_add(0, bag, table[rows])
            means = sums / bags.clamp(min=1)[:, None]
        else:
            ends = F.pad(bags.cumsum(0), (1, 0))
            means = F.embedding_bag(
                rows, table, ends, mode="mean", sparse=self.sparse, include_last_offset=True
            )
        return means.unflatten(0, (batch, self.multi))


def _dense_network(features: int, hidden: int, out: int) -> nn.Sequential | None:
    if not features:
        return None
    at_least(1, dense_hidden=hidden)
    return nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, out))
