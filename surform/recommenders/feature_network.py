"""What all rankers share: the features of a table's rows as tokens, from which logits are made."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.checks import at_least, fraction, one_of
from surform.recommenders.feature_tokens import FeatureTokens

__all__ = ["FeatureNetwork", "TrainedDtype"]

TrainedDtype = Literal["float32", "bfloat16"]


class FeatureNetwork(nn.Module):
    """Logits (B, tasks) from categories, lists of categories and numbers.

    A network of this kind takes these arguments as its own and overrides `logits`.

    Args:
        vocab_sizes: ids of each single-valued feature; row 0 is by convention that of unknown ones.
        multi_vocab_sizes: ids of each multi-valued feature, whose rows are averaged.
        dense_features: numbers per sample, standardised.
        dense_tokens: tokens made of the numbers.
        dense_hidden: width of the layer between.
        tasks: outputs.
        dim: width of a token.
        dropout: checked here, used by the network.
        embedding_std: of the tables' first values.
        sparse_tables: give the tables sparse gradients, for `RowwiseAdagrad` or torch's SparseAdam.
        table_dtype: "bfloat16" keeps the tables in half the memory, whatever the network's own
            precision is; `RowwiseAdagrad` trains them, with state in float32.
    """

    def __init__(
        self,
        vocab_sizes: tuple[int, ...],
        multi_vocab_sizes: tuple[int, ...],
        dense_features: int,
        *,
        dense_tokens: int,
        dense_hidden: int,
        tasks: int,
        dim: int,
        dropout: float,
        embedding_std: float,
        sparse_tables: bool,
        table_dtype: TrainedDtype,
    ) -> None:
        super().__init__()
        at_least(1, tasks=tasks)
        fraction(dropout=dropout)
        one_of("table_dtype", table_dtype, ["float32", "bfloat16"])
        self.tasks = tasks
        self.features = FeatureTokens(
            vocab_sizes,
            multi_vocab_sizes,
            dense_features,
            dense_tokens,
            dense_hidden,
            dim=dim,
            embedding_std=embedding_std,
            sparse=sparse_tables,
            table_dtype=table_dtype,
        )

    def forward(
        self,
        categorical: Int[Tensor, "b n"],
        dense: Float[Tensor, "b m"] | None = None,
        values: Int[Tensor, " v"] | None = None,
        lengths: Int[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b t"]:
        """Logits.

        Args:
            categorical: ids of the single-valued features, int64 or int32.
            dense: standardised numbers.
            values: ids of all multi-valued features: those of the first sample, feature by feature,
                then those of the second, ...
            lengths: how many of them belong to each sample and feature.

        Raises:
            ValueError: inputs that are missing or do not fit, an id that a feature does not have.
        """
        return self.logits(self.features(categorical, dense, values, lengths))

    def logits(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b t"]:
        """Logits from the features' tokens."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it makes of tokens")
