"""A ranker: network, normaliser of the numbers, and the table that it was trained on."""

from __future__ import annotations

import functools
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_rows import encode_rows
from surform.data.normalizers import Normalizer
from surform.hub.pretrained import Pretrained
from surform.layers.evaluating import evaluating
from surform.recommenders.feature_tables import TableDtype

__all__ = ["Ranker"]


class Ranker(Pretrained):
    """Rows of a table in, one logit per label out.

    Args:
        net: a registered network, `net(categorical, dense, values, lengths) -> (B, tasks)`, numbers
            standardised.
    """

    kind: ClassVar[str] = "ranker"
    usage: ClassVar[str] = (
        "chances = model.score(rows)  # a table's columns by name; (rows, labels)"
    )
    file_options: ClassVar[tuple[str, ...]] = (
        "keep",
        "batch_size",
        "layout",
        "delimiter",
        "columns",
    )
    ragged: ClassVar[dict[str, str]] = {"values": "values"}
    description: InteractionsDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.dense_features = self._given().get("dense_features", 0)
        self.dense = Normalizer().to(self._dtype()) if self.dense_features else None

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> InteractionsDescription:
        return InteractionsDescription.from_dict(values)

    def fit_to(self, description: InteractionsDescription, dense: Normalizer | None = None) -> None:
        """Take over the description and the fitted normaliser of the training data's numbers.

        Args:
            dense: None for a ranker that keeps the one it has: it was trained on rows like these.
        """
        known = self.description is not None and self.description.reads_like(description)
        if self.dense is not None and dense is not None:
            self.dense = dense
        elif self.dense is not None and not known:
            raise ValueError("the network takes numbers: give the normaliser fitted to them")
        self.description = description
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError when the statistics or the network do not fit the described table."""
        about = self.description
        if self.dense is not None:
            found = tuple(self.dense.mean.shape)
            if found not in ((), (self.dense_features,)):
                raise ValueError(
                    f"the statistics of the normalizer have shape {found}, the network takes "
                    f"{self.dense_features} numbers"
                )
        given = self._given()
        if about is None or "vocab_sizes" not in given:
            return
        for argument, names in (
            ("vocab_sizes", about.categorical),
            ("multi_vocab_sizes", about.multivalued),
        ):
            sizes = [about.rows(name) for name in names]
            if list(given.get(argument, ())) != sizes:
                raise ValueError(
                    f"the network was built with {argument} {list(given.get(argument, ()))}, the "
                    f"table has {sizes} (each with a row of unknown categories)"
                )
        if self.dense_features != len(about.dense):
            raise ValueError(
                f"the network takes {self.dense_features} numbers, the table has {len(about.dense)}"
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
            categorical: ids of the single-valued features; 0 = unknown.
            dense: numbers, in the table's units.
            values: ids of the multi-valued features, row by row and in a row feature by feature.
            lengths: how many of them each row and feature has.

        Raises:
            ValueError: inputs that are missing or do not fit, an id that a feature does not have.
        """
        if self.dense is not None:
            if dense is None or dense.ndim != 2 or dense.shape[1] != self.dense_features:
                found = "missing" if dense is None else f"of shape {tuple(dense.shape)}"
                raise ValueError(
                    f"dense is {found}, but must be ({categorical.shape[0]}, {self.dense_features})"
                )
            dense = self.dense.normalize(dense).to(self._dtype())
        return self.net(categorical, dense, values, lengths)

    def probabilities(
        self,
        categorical: Int[Tensor, "b n"],
        dense: Float[Tensor, "b m"] | None = None,
        values: Int[Tensor, " v"] | None = None,
        lengths: Int[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b t"]:
        """Of the labels, in float32 at least; arguments and errors as those of `forward`."""
        logits = self(categorical, dense, values, lengths)
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()

    def outputs(self, batch: InteractionsBatch) -> Float[Tensor, "b t"]:
        """Probabilities of the labels for a batch."""
        return self.probabilities(**batch.inputs())

    @torch.inference_mode()
    def score(self, rows: Any, batch_size: int = 4096) -> Float[Tensor, "n t"]:
        """Probabilities of the labels for rows of a table, columns by name.

        Args:
            rows: a mapping of sequences, or a data frame; see
                `surform.data.interactions_rows.encode_rows`.
            batch_size: rows in one call of the network.

        Raises:
            ValueError: a model without a description, or rows that do not fit it.
        """
        if self.description is None:
            raise ValueError(
                "the model does not know the columns and categories that it was trained on: give "
                "them with model.fit_to"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        device = next(iter(self.state_dict().values())).device
        with evaluating(self):
            parts = [
                self.outputs(part.to(device)).cpu()
                for part in encode_rows(self.description, rows, labelled=False).parts(batch_size)
            ]
        return torch.cat(parts) if parts else torch.empty(0, len(self.description.labels))

    def predict_file(self, source: Any, out: str | PathLike[str], **options: Any) -> Path:
        """Score the rows of tables into a file; see `surform.recommenders.ranking_predicting`."""
        from surform.recommenders.ranking_predicting import predict_file

        with evaluating(self):
            return predict_file(self, source, out, **options)

    def folded(self, table_dtype: TableDtype = "float32") -> Ranker:
        """The same model for serving; see `surform.recommenders.folding.fold`.

        Args:
            table_dtype: of the folded tables; "bfloat16" and "int8" round them.

        Raises:
            ValueError: the network is no Hiformer of one pruned layer.
        """
        from surform.recommenders.folding import fold
        from surform.recommenders.hiformer import Hiformer

        if not isinstance(self.net, Hiformer):
            raise ValueError(f"only a Hiformer folds, not a {type(self.net).__name__}")
        found = Ranker(fold(self.net, table_dtype))
        found.description, found.dense = self.description, self.dense
        found.metrics, found.protocols = dict(self.metrics), dict(self.protocols)
        rounded = "" if table_dtype == "float32" else f" in {table_dtype}"
        summary = f"A Hiformer with folded tables{rounded}, for serving."
        found.card = self.card | {"summary": summary}
        return found.train(self.training)

    def example_inputs(self) -> dict[str, Tensor]:
        """Two rows; each multi-valued feature has two values."""
        given = self._given()
        if "vocab_sizes" not in given:
            return super().example_inputs()
        sizes = torch.tensor(given["vocab_sizes"], dtype=torch.int64)
        found = {"categorical": torch.arange(2)[:, None] % sizes}
        if self.dense is not None:
            mean = self.dense.mean.expand(self.dense_features)
            found["dense"] = torch.stack((mean, mean + self.dense.std)).to(self._dtype())
        multi = given.get("multi_vocab_sizes", ())
        if multi:
            pairs = [torch.arange(2) % size for size in multi]
            found["values"] = torch.cat(pairs * 2)
            found["lengths"] = torch.full((2, len(multi)), 2)
        return found

    def example_batch(self, count: int) -> dict[str, Tensor]:
        """Rows with categories drawn at random, so that all parts of the tables are asked for, and
        up to four values of each multi-valued feature.
        """
        given = self._given()
        if "vocab_sizes" not in given:
            return super().example_batch(count)
        chance = torch.Generator().manual_seed(0)
        multi = given.get("multi_vocab_sizes", ())
        sizes = torch.tensor(given["vocab_sizes"], dtype=torch.int64)
        found = {"categorical": _drawn(sizes.expand(count, -1), chance)}
        if self.dense is not None:
            noise = torch.randn(count, self.dense_features, generator=chance)
            dense = self.dense.denormalize(noise.to(self.dense.mean.dtype))
            found["dense"] = dense.to(self._dtype())
        if multi:
            lengths = torch.randint(5, (count, len(multi)), generator=chance)
            sizes = torch.tensor(multi).repeat(count).repeat_interleave(lengths.flatten())
            found |= {"values": _drawn(sizes, chance), "lengths": lengths}
        return found

    def _given(self) -> dict[str, Any]:
        """Arguments of the network; a folded one keeps those of its origin."""
        given = self.net.__dict__.get("arguments", {})
        return given.get("hiformer", given)

    def _dtype(self) -> torch.dtype:
        """Of the network; its tables may have a narrower one."""
        dtypes = {p.dtype for p in self.net.parameters() if p.is_floating_point()}
        if not dtypes:
            return torch.get_default_dtype()
        return functools.reduce(torch.promote_types, dtypes)


def _drawn(sizes: Tensor, chance: torch.Generator) -> Tensor:
    """Whole numbers from 0, each below its size."""
    return (torch.rand(sizes.shape, generator=chance, dtype=torch.float64) * sizes).long()
