"""DCN-V2: explicit crosses of features beside a perceptron; a baseline."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.recommenders.feature_network import FeatureNetwork, TrainedDtype
from surform.recommenders.task_heads import deep_tower

__all__ = ["CrossLayers", "DCNv2"]


class CrossLayers(nn.Module):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, (B, width) -> (B, width).

    Wang et al., 2021 (arXiv 2008.13535), equation 1.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        at_least(1, width=width, depth=depth)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x: Float[Tensor, "b w"]) -> Float[Tensor, "b w"]:
        first = x
        for layer in self.layers:
            x = first * layer(x) + x
        return x


class DCNv2(FeatureNetwork):
    """Logits (B, tasks): crosses of bounded degree, and a perceptron in parallel.

    Wang, Shivanna, Cheng, Jain, Lin, Hong, Chi, "DCN V2: Improved Deep & Cross Network and
    Practical Lessons for Web-scale Learning to Rank Systems", WWW 2021, arXiv 2008.13535; the
    parallel structure with full matrices. Its crosses equal those of FuxiCTR.

    Args:
        depth: crosses.
        deep: widths of the perceptron; () = none.
        dropout: in `deep`.
        others: as in `FeatureNetwork`.
    """

    @record_arguments
    def __init__(
        self,
        vocab_sizes: tuple[int, ...],
        multi_vocab_sizes: tuple[int, ...] = (),
        dense_features: int = 0,
        *,
        dense_tokens: int = 0,
        dense_hidden: int = 64,
        tasks: int = 1,
        dim: int = 16,
        depth: int = 3,
        deep: tuple[int, ...] = (400, 400),
        dropout: float = 0.0,
        embedding_std: float = 0.01,
        sparse_tables: bool = False,
        table_dtype: TrainedDtype = "float32",
    ) -> None:
        super().__init__(
            vocab_sizes,
            multi_vocab_sizes,
            dense_features,
            dense_tokens=dense_tokens,
            dense_hidden=dense_hidden,
            tasks=tasks,
            dim=dim,
            dropout=dropout,
            embedding_std=embedding_std,
            sparse_tables=sparse_tables,
            table_dtype=table_dtype,
        )
        flat = self.features.count * dim
        self.cross = CrossLayers(flat, depth)
        self.head = nn.Linear(flat, tasks)
        self.deep = deep_tower(flat, deep, tasks, dropout) if deep else None

    def logits(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b t"]:
        """Logits from the features' tokens."""
        x = tokens.flatten(1)
        logits = self.head(self.cross(x))
        return logits if self.deep is None else logits + self.deep(x)
