"""Hiformer for serving: what does not depend on a sample is computed once, before the first one.

In a network of one pruned layer the query of a task is a constant, and the keys' and values' first
map is linear in each token. So the map is applied to the rows of the embedding tables beforehand
(a sample's tokens become one sum of looked-up rows), and the query is multiplied into the map of
the keys, which then gives scores. Outputs are those of the network, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform import attention
from surform.layers.arguments import record_arguments
from surform.recommenders.feature_inputs import checked_dense
from surform.recommenders.feature_tables import FeatureTables, TableDtype
from surform.recommenders.feature_tokens import FeatureTokens
from surform.recommenders.hiformer import Hiformer
from surform.recommenders.hiformer_layer import AfterAttention
from surform.recommenders.task_heads import TaskHeads, deep_tower
from surform.recommenders.token_maps import TokenMaps

__all__ = ["FoldedHiformer"]


class FoldedHiformer(nn.Module):
    """The same logits as a `Hiformer` of one pruned layer, from folded tables; not for training.

    Gui et al., "Hiformer", 2023, arXiv 2311.05884; the folding is ours.

    A token's row holds what it adds to scores and values. For "lowrank" it adds to the two thin
    vectors (key_rank + value_rank numbers), for "composite" to the scores and values of all tokens
    (tokens * heads * (tasks + value_dim) numbers per row: for small vocabularies), for "feature"
    and "shared" to its own only. Behind a norm="pre" only rows of single-valued features can be
    folded; other tokens are computed, normalised and mapped.

    Args:
        hiformer: arguments of the network that was folded.
        table_dtype: of the folded rows: "float32" (the network's precision), "bfloat16", or "int8"
            with a scale per row; see `FeatureTables`. All else is computed in the network's.
    """

    eye: Tensor

    @record_arguments
    def __init__(self, hiformer: Mapping[str, Any], table_dtype: TableDtype = "float32") -> None:
        super().__init__()
        with torch.device("meta"):
            plan = Hiformer(**hiformer)
        given = plan.__dict__["arguments"]
        require_foldable(given)
        features, dim, tasks = plan.features, given["dim"], given["tasks"]
        self.tokens, self.tasks, self.heads = plan.tokens, tasks, given["heads"]
        self.single, self.multi = features.single, features.multi
        self.value_dim, self.kind = given["value_dim"], given["attention"]
        self.by_token = self.kind in ("shared", "feature")
        self.width = row_width(given, self.tokens)
        pre = given["norm"] == "pre"
        computed = features.multi + features.dense_tokens if pre else 0
        self.folded_multi = () if pre else given["multi_vocab_sizes"]
        rows = (
            FeatureTables(
                given["vocab_sizes"],
                self.folded_multi,
                dim=self.width,
                embedding_std=0.0,
                table_dtype=table_dtype,
            )
            if given["vocab_sizes"] or self.folded_multi
            else None
        )
        self.rows = rows
        self.features = _same_features(given) if computed or given["deep"] else None
        self.numbers = None
        if features.dense_features and not pre:
            hidden, count = given["dense_hidden"], features.dense_tokens if self.by_token else 1
            self.numbers = nn.Sequential(
                nn.Linear(features.dense_features, hidden),
                nn.GELU(),
                nn.Linear(hidden, count * self.width),
            )
        self.dense_features = features.dense_features
        self.computed: nn.Module | None = None
        if computed:
            self.computed = (
                TokenMaps(computed, dim, self.width)
                if self.by_token
                else nn.Linear(computed * dim, self.width, bias=False)
            )
        keep = given["positions"] and computed
        self.positions = nn.Parameter(torch.zeros(computed, dim)) if keep else None
        constants = (self.tokens, self.width) if self.by_token else (self.width,)
        self.constant = nn.Parameter(torch.zeros(constants))
        self.scores, self.values = None, None
        if self.kind == "lowrank":
            slots = self.heads * self.tokens
            self.scores = nn.Linear(given["key_rank"], slots * tasks)
            self.values = nn.Linear(given["value_rank"], slots * self.value_dim)
        self.task_tokens = nn.Parameter(torch.zeros(tasks, dim))
        self.after = AfterAttention(
            None if self.kind == "shared" else tasks,
            self.heads * self.value_dim,
            dim,
            round(dim * given["mlp_ratio"]),
            norm=given["norm"],
            norm_eps=given["norm_eps"],
            dropout=0.0,
        )
        self.final_norm = nn.LayerNorm(dim, given["norm_eps"]) if pre else None
        self.head = TaskHeads(tasks, dim, given["tower"])
        flat = features.count * dim
        self.deep = deep_tower(flat, given["deep"], tasks, 0.0) if given["deep"] else None
        self.register_buffer("eye", torch.eye(tasks), persistent=False)
        self.requires_grad_(False)

    def forward(
        self,
        categorical: Int[Tensor, "b n"],
        dense: Float[Tensor, "b m"] | None = None,
        values: Int[Tensor, " v"] | None = None,
        lengths: Int[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b t"]:
        """Logits; arguments and errors as those of `Hiformer.forward`."""
        tokens = None
        if self.features is not None:
            tokens = self.features(categorical, dense, values, lengths)
            dense = None if self.numbers is None else dense
            values, lengths = (values, lengths) if self.folded_multi else (None, None)
        numbers = checked_dense(dense, self.dense_features, categorical.shape[0], self.numbers)
        read = self._by_token if self.by_token else self._summed
        scores, taken = read((categorical, numbers, values, lengths), tokens)
        query = self.eye.expand(
            scores.shape[0], self.heads, -1, -1
        )  # each task reads its own scores
        attended = attention.softmax(query, scores, taken, scale=1.0)
        x = self.after(self.task_tokens[:, None], attended)
        logits = self.head(x if self.final_norm is None else self.final_norm(x))
        return (
            logits if self.deep is None or tokens is None else logits + self.deep(tokens.flatten(1))
        )

    def _by_token(self, inputs: tuple, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scores (B, H, L, tasks) and values (B, H, L, width), each token its own."""
        categorical, dense, values, lengths = inputs
        parts = []
        if self.rows is not None:
            parts += self.rows.parts(categorical, values, lengths)
        if self.numbers is not None:
            parts.append(self.numbers(dense).unflatten(-1, (-1, self.width)))
        if self.computed is not None and tokens is not None:
            parts.append(self.computed(self._given(tokens).transpose(0, 1)).transpose(0, 1))
        batch = parts[0].shape[0]
        parts.append(parts[0].new_zeros(1, 1, 1).expand(batch, self.tasks, self.width))
        x = (torch.cat(parts, 1) + self.constant).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return x[..., : self.tasks], x[..., self.tasks :]

    def _summed(self, inputs: tuple, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
        """The same where all tokens add to all: one sum of rows."""
        categorical, dense, values, lengths = inputs
        total = self.constant
        if self.rows is not None and self.single:
            total = total + self.rows.sums(categorical)
        if self.rows is not None and self.folded_multi:
            means = self.rows.means(values, lengths, categorical.shape[0])
            total = total + means.sum(1)
        if self.numbers is not None:
            total = total + self.numbers(dense)
        if self.computed is not None and tokens is not None:
            total = total + self.computed(self._given(tokens).flatten(1))
        if self.scores is not None and self.values is not None:
            rank = self.scores.in_features
            scores, taken = self.scores(total[:, :rank]), self.values(total[:, rank:])
        else:
            scores, taken = total.tensor_split([self.heads * self.tokens * self.tasks], 1)
        shape = (self.heads, self.tokens, -1)
        return scores.unflatten(-1, shape), taken.unflatten(-1, shape)

    def _given(self, tokens: Tensor) -> Tensor:
        """The tokens that are not folded, as the projections see them."""
        x = tokens[:, self.single :]
        return self.after.given(x if self.positions is None else x + self.positions)


def require_foldable(given: Mapping[str, Any]) -> None:
    """ValueError for networks in which the tasks' queries depend on the sample."""
    if given["depth"] != 1 or not given["prune_last"]:
        raise ValueError(
            "only networks of one pruned layer fold (depth=1, prune_last=True), not depth="
            f"{given['depth']} with prune_last={given['prune_last']}: otherwise the tasks' queries "
            "depend on the sample"
        )


def row_width(given: Mapping[str, Any], tokens: int) -> int:
    """Numbers in a folded row."""
    if given["attention"] == "lowrank":
        return given["key_rank"] + given["value_rank"]
    own = given["heads"] * (given["tasks"] + given["value_dim"])
    return own * tokens if given["attention"] == "composite" else own


def _same_features(given: Mapping[str, Any]) -> FeatureTokens:
    return FeatureTokens(
        given["vocab_sizes"],
        given["multi_vocab_sizes"],
        given["dense_features"],
        given["dense_tokens"],
        given["dense_hidden"],
        dim=given["dim"],
        table_dtype=given["table_dtype"],
    )
