"""Hiformer: a Transformer whose tokens are features of a table, each with weights of its own."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, one_of
from surform.recommenders.feature_network import FeatureNetwork, TrainedDtype
from surform.recommenders.hiformer_layer import HiformerLayer, Norm
from surform.recommenders.projections import Kind
from surform.recommenders.task_heads import TaskHeads, deep_tower

__all__ = ["Hiformer"]


class Hiformer(FeatureNetwork):
    """Logits (B, tasks) from categories and numbers: every feature is a token, tasks ask them.

    Gui, Wang, Yin, Jin, Kula, Xu, Hong, Chi, "Hiformer: Heterogeneous Feature Interactions Learning
    with Transformers for Recommender Systems", 2023, arXiv 2311.05884. There is no official code;
    where the paper is silent (place of the norms, normaliser of the numbers, head) the choice is an
    argument or stands in the documentation.

    The published sizes are dim=128, heads=4, key_dim=16, value_dim=64, key_rank=128,
    value_rank=1024, depth=1; the defaults suit small public data.

    Args:
        vocab_sizes: ids of each single-valued feature; row 0 is by convention that of unknown ones.
        multi_vocab_sizes: ids of each multi-valued feature, whose rows are averaged.
        dense_features: numbers per sample, standardised.
        dense_tokens: tokens made of the numbers, fewer than there are numbers.
        dense_hidden: width of the layer between.
        tasks: outputs, each with a learned token of its own.
        dim: width of a token.
        depth: layers.
        heads: of attention; their widths do not depend on `dim`.
        key_dim: width of each head's queries and keys.
        value_dim: width of each head's values.
        mlp_ratio: width of the feed-forward blocks over `dim`.
        attention: what makes queries, keys and values: "shared" (Transformer), "feature" (each
            token its own matrices: HeteroAtt), "composite" (from all tokens to each), "lowrank"
            (the same of low rank: Hiformer as published).
        key_rank: rank of keys and queries for "lowrank".
        value_rank: rank of values for "lowrank".
        prune_last: in the last layer only tasks ask; otherwise all tokens do, though only the
            tasks' are read.
        norm: "post", "pre" (with a last norm on the tasks' tokens) or "none".
        positions: a learned vector per token, as in the baseline "Transformer + PE".
        tower: widths of hidden layers between a task's token and its logit.
        deep: widths of a perceptron beside the Transformer, on all features' tokens; its logits
            are added. () = none.
        dropout: of attention weights and branches, and in `deep`.
        norm_eps: of the norms.
        embedding_std: of the tables' first values.
        sparse_tables: give the tables sparse gradients, for `RowwiseAdagrad` or torch's SparseAdam.
        table_dtype: "bfloat16" keeps the tables in half the memory, whatever the network's own
            precision is; `RowwiseAdagrad` trains them, with state in float32.
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
        dim: int = 32,
        depth: int = 1,
        heads: int = 4,
        key_dim: int = 8,
        value_dim: int = 16,
        mlp_ratio: float = 4.0,
        attention: Kind = "lowrank",
        key_rank: int = 32,
        value_rank: int = 64,
        prune_last: bool = True,
        norm: Norm = "post",
        positions: bool = False,
        tower: tuple[int, ...] = (),
        deep: tuple[int, ...] = (),
        dropout: float = 0.0,
        norm_eps: float = 1e-6,
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
        at_least(1, depth=depth, heads=heads)
        at_least(1, key_dim=key_dim, value_dim=value_dim)
        at_least(1, key_rank=key_rank, value_rank=value_rank)
        one_of("attention", attention, ["shared", "feature", "composite", "lowrank"])
        one_of("norm", norm, ["post", "pre", "none"])
        hidden = round(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio is {mlp_ratio!r}, but dim * mlp_ratio must be at least 1")
        self.tokens = self.features.count + tasks
        self.task_tokens = nn.Parameter(torch.randn(tasks, dim) * dim**-0.5)
        self.positions = nn.Parameter(torch.randn(self.tokens, dim) * 0.02) if positions else None
        self.layers = nn.ModuleList(
            HiformerLayer(
                attention,
                self.tokens,
                dim,
                heads,
                key_dim,
                value_dim,
                hidden,
                key_rank=key_rank,
                value_rank=value_rank,
                queries=tasks if prune_last and i == depth - 1 else None,
                norm=norm,
                norm_eps=norm_eps,
                dropout=dropout,
            )
            for i in range(depth)
        )
        self.final_norm = nn.LayerNorm(dim, norm_eps) if norm == "pre" else None
        self.head = TaskHeads(tasks, dim, tower)
        flat = self.features.count * dim
        self.deep = deep_tower(flat, deep, tasks, dropout) if deep else None

    def logits(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b t"]:
        """Logits from the features' tokens."""
        x = self.with_tasks(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.read(x, tokens)

    def forward_with_attention(
        self,
        categorical: Int[Tensor, "b n"],
        dense: Float[Tensor, "b m"] | None = None,
        values: Int[Tensor, " v"] | None = None,
        lengths: Int[Tensor, "b k"] | None = None,
    ) -> tuple[Float[Tensor, "b t"], list[Float[Tensor, "b h q l"]]]:
        """Logits, and per layer how much each asking token (row) took from each token.

        Tokens are, in this order: single-valued, multi-valued, those of numbers, tasks; in a pruned
        last layer only tasks ask.
        """
        given = self.features(categorical, dense, values, lengths)
        x, maps = self.with_tasks(given), []
        for layer in self.layers:
            x, weights = cast(HiformerLayer, layer).forward_with_map(x)
            maps.append(weights)
        return self.read(x, given), maps

    def with_tasks(self, given: Float[Tensor, "b n c"]) -> Float[Tensor, "l b c"]:
        """All tokens, tasks last, tokens first."""
        tasks = self.task_tokens.to(given.dtype).expand(given.shape[0], -1, -1)
        x = torch.cat((given, tasks), 1)
        return (x if self.positions is None else x + self.positions).transpose(0, 1)

    def read(
        self, x: Float[Tensor, "l b c"], given: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b t"]:
        """Logits from the last layer's tokens, and from the features' for the deep tower."""
        x = x[-self.tasks :]
        logits = self.head(x if self.final_norm is None else self.final_norm(x))
        return logits if self.deep is None else logits + self.deep(given.flatten(1))
