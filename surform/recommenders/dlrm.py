"""DLRM: products of all pairs of embeddings, then a perceptron; a baseline."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surform.layers.arguments import record_arguments
from surform.recommenders.feature_network import FeatureNetwork, TrainedDtype
from surform.recommenders.task_heads import deep_tower

__all__ = ["DLRM"]


class DLRM(FeatureNetwork):
    """Logits (B, tasks) from the products of all pairs of tokens, and the numbers' own token.

    Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation
    Systems", 2019, arXiv 1906.00091. The numbers, if there are any, make one token.

    Args:
        dense_hidden: width of the layer between the numbers and their token.
        top: widths of the perceptron on the products.
        dropout: in `top`.
        others: as in `FeatureNetwork`.
    """

    pairs: Tensor

    @record_arguments
    def __init__(
        self,
        vocab_sizes: tuple[int, ...],
        multi_vocab_sizes: tuple[int, ...] = (),
        dense_features: int = 0,
        *,
        dense_hidden: int = 64,
        tasks: int = 1,
        dim: int = 16,
        top: tuple[int, ...] = (400, 400),
        dropout: float = 0.0,
        embedding_std: float = 0.01,
        sparse_tables: bool = False,
        table_dtype: TrainedDtype = "float32",
    ) -> None:
        super().__init__(
            vocab_sizes,
            multi_vocab_sizes,
            dense_features,
            dense_tokens=1 if dense_features else 0,
            dense_hidden=dense_hidden,
            tasks=tasks,
            dim=dim,
            dropout=dropout,
            embedding_std=embedding_std,
            sparse_tables=sparse_tables,
            table_dtype=table_dtype,
        )
        count = self.features.count
        pairs = torch.tril_indices(count, count, offset=-1)
        self.register_buffer("pairs", pairs[0] * count + pairs[1], persistent=False)
        numbers = dim if dense_features else 0
        inputs = pairs.shape[1] + numbers
        if not inputs:
            raise ValueError("DLRM multiplies pairs of features: give at least two")
        self.top = deep_tower(inputs, top, tasks, dropout)

    def logits(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b t"]:
        """Logits from the features' tokens."""
        products = (tokens @ tokens.transpose(1, 2)).flatten(1)[:, self.pairs]
        if self.features.dense_tokens:
            products = torch.cat((tokens[:, -1], products), 1)
        return self.top(products)
