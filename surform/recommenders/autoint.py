"""AutoInt: interactions of features by self-attention with shared weights; a baseline."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform import attention
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.layers.dropout import Dropout
from surform.layers.multihead import merge_heads
from surform.recommenders.feature_network import FeatureNetwork, TrainedDtype
from surform.recommenders.task_heads import deep_tower

__all__ = ["AutoInt", "InteractingLayer"]


class InteractingLayer(nn.Module):
    """relu(attention + residual), (B, N, inputs) -> (B, N, width), without biases.

    Song et al., "AutoInt", 2019 (arXiv 1810.11921), equations 5 to 8, as FuxiCTR writes it.

    Args:
        residual: add the input, mapped where the widths differ.
        scale: divide scores by the root of a head's width.
        layer_norm: of the sum, before relu.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        heads: int,
        *,
        residual: bool = True,
        scale: bool = False,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, inputs=inputs, width=width, heads=heads)
        if width % heads:
            raise ValueError(f"heads is {heads}, but must divide the layer's width = {width}")
        self.heads, self.scale, self.residual = heads, scale, residual
        self.q, self.k, self.v = (nn.Linear(inputs, width, bias=False) for _ in range(3))
        mapped = residual and inputs != width
        self.skip = nn.Linear(inputs, width, bias=False) if mapped else None
        self.norm = nn.LayerNorm(width) if layer_norm else None

    def forward(
        self, x: Float[Tensor, "b n i"], *, dropout_p: float = 0.0
    ) -> Float[Tensor, "b n w"]:
        q, k, v = (
            m(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in (self.q, self.k, self.v)
        )
        scale = None if self.scale else 1.0
        y = merge_heads(attention.softmax(q, k, v, scale=scale, dropout_p=dropout_p))
        if self.residual:
            y = y + (x if self.skip is None else self.skip(x))
        return F.relu(y if self.norm is None else self.norm(y))


class AutoInt(FeatureNetwork):
    """Logits (B, tasks): layers of self-attention over the features' tokens, all read together.

    Song, Shi, Xiao, Duan, Xu, Zhang, Tang, "AutoInt: Automatic Feature Interaction Learning via
    Self-Attentive Neural Networks", CIKM 2019, arXiv 1810.11921. Its layers equal those of FuxiCTR.

    Args:
        depth: layers.
        width: of all heads of a layer together.
        heads: of attention.
        residual: add a layer's input.
        scale: divide scores by the root of a head's width; FuxiCTR's default does not.
        layer_norm: in every layer.
        deep: widths of a perceptron beside it, whose logits are added; () = none.
        dropout: of attention weights, and in `deep`.
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
        depth: int = 2,
        width: int = 32,
        heads: int = 2,
        residual: bool = True,
        scale: bool = False,
        layer_norm: bool = False,
        deep: tuple[int, ...] = (),
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
        at_least(1, depth=depth)
        self.layers = nn.ModuleList(
            InteractingLayer(
                width if i else dim,
                width,
                heads,
                residual=residual,
                scale=scale,
                layer_norm=layer_norm,
            )
            for i in range(depth)
        )
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(self.features.count * width, tasks)
        flat = self.features.count * dim
        self.deep = deep_tower(flat, deep, tasks, dropout) if deep else None

    def logits(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b t"]:
        """Logits from the features' tokens."""
        x, dropped = tokens, self.dropout.p if self.training else 0.0
        for layer in self.layers:
            x = layer(x, dropout_p=dropped)
        logits = self.head(x.flatten(1))
        return logits if self.deep is None else logits + self.deep(tokens.flatten(1))
