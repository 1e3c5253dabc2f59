"""Logistic regression: a weight per category and per number; a sanity row beside the networks."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.recommenders.feature_inputs import checked_dense
from surform.recommenders.feature_tokens import FeatureTokens

__all__ = ["LogisticRegression"]


class LogisticRegression(nn.Module):
    """Logits (B, tasks): the sum of one weight per id, the mean over the ids of a multi-valued
    feature, and weighted numbers.

    The usual baseline of click models, e.g. in Song et al., 2019, arXiv 1810.11921.

    Args:
        vocab_sizes: ids of each single-valued feature; row 0 is by convention that of unknown ones.
        multi_vocab_sizes: ids of each multi-valued feature, whose weights are averaged.
        dense_features: numbers per sample, standardised.
        tasks: outputs.
    """

    @record_arguments
    def __init__(
        self,
        vocab_sizes: tuple[int, ...],
        multi_vocab_sizes: tuple[int, ...] = (),
        dense_features: int = 0,
        *,
        tasks: int = 1,
    ) -> None:
        super().__init__()
        at_least(1, tasks=tasks)
        at_least(0, dense_features=dense_features)
        if not (vocab_sizes or multi_vocab_sizes or dense_features):
            raise ValueError(
                "vocab_sizes, multi_vocab_sizes and dense_features are empty: give some feature"
            )
        ids = (*vocab_sizes, *multi_vocab_sizes)
        self.weights = FeatureTokens(vocab_sizes, multi_vocab_sizes, dim=tasks) if ids else None
        self.dense_features = dense_features
        self.numbers = nn.Linear(dense_features, tasks, bias=False) if dense_features else None
        self.bias = nn.Parameter(torch.zeros(tasks))

    def forward(
        self,
        categorical: Int[Tensor, "b n"],
        dense: Float[Tensor, "b m"] | None = None,
        values: Int[Tensor, " v"] | None = None,
        lengths: Int[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b t"]:
        """Logits; arguments and errors as those of `Hiformer.forward`."""
        logits = self.bias.expand(categorical.shape[0], -1)
        if self.weights is not None:
            logits = logits + self.weights(categorical, None, values, lengths).sum(1)
        numbers = checked_dense(dense, self.dense_features, categorical.shape[0], self.numbers)
        if self.numbers is not None:
            logits = logits + self.numbers(numbers)
        return logits
