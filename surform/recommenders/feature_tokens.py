"""Mixed features as tokens of one width: a table per feature, and a network for the numbers.

Gui et al., "Hiformer: Heterogeneous Feature Interactions Learning with Transformers for Recommender
Systems", 2023 (arXiv 2311.05884), section on preprocessing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.checks import at_least
from surform.recommenders.feature_inputs import checked_dense
from surform.recommenders.feature_tables import FeatureTables, TableDtype

__all__ = ["FeatureTokens"]


class FeatureTokens(FeatureTables):
    """(B, n, dim): single-valued features, multi-valued ones (mean of their rows), numbers.

    Args:
        vocab_sizes, multi_vocab_sizes, dim, embedding_std, sparse, table_dtype: as for
            `FeatureTables`.
        dense_features: numbers per sample, standardised.
        dense_tokens: tokens that the network of the numbers makes of them.
        dense_hidden: width of its hidden layer; exact GELU between.
    """

    def __init__(
        self,
        vocab_sizes: Sequence[int],
        multi_vocab_sizes: Sequence[int] = (),
        dense_features: int = 0,
        dense_tokens: int = 0,
        dense_hidden: int = 64,
        *,
        dim: int,
        embedding_std: float = 0.01,
        sparse: bool = False,
        table_dtype: TableDtype = "float32",
    ) -> None:
        super().__init__(
            vocab_sizes,
            multi_vocab_sizes,
            dim=dim,
            embedding_std=embedding_std,
            sparse=sparse,
            table_dtype=table_dtype,
        )
        at_least(0, dense_features=dense_features, dense_tokens=dense_tokens)
        if bool(dense_features) != bool(dense_tokens):
            raise ValueError(
                f"dense_features is {dense_features} and dense_tokens is {dense_tokens}, but "
                "numbers need tokens and tokens of numbers need numbers"
            )
        self.dense_features, self.dense_tokens = dense_features, dense_tokens
        if not self.count:
            raise ValueError(
                "vocab_sizes, multi_vocab_sizes and dense_features are empty: give some feature"
            )
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
        parts = self.parts(categorical, values, lengths)
        numbers = checked_dense(dense, self.dense_features, categorical.shape[0], self.dense)
        if self.dense is not None:
            parts.append(self.dense(numbers).unflatten(-1, (self.dense_tokens, self.dim)))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def _dense_network(features: int, hidden: int, out: int) -> nn.Sequential | None:
    if not features:
        return None
    at_least(1, dense_hidden=hidden)
    return nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, out))
