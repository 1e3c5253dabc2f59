"""Embedding tables of all features as the rows of one, in any precision, and what is looked up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.checks import at_least, one_of
from surform.recommenders.feature_inputs import check_ids, check_lists, row_starts, traced

__all__ = ["FeatureTables", "TableDtype"]

TableDtype = Literal["float32", "bfloat16", "int8"]
_BLOCK = 1 << 17  # looked-up numbers that are summed at a time: they stay in the cache


# An Embedding by name: DistributedDataParallel asks only these whether their gradients are sparse.
class FeatureTables(nn.Embedding):
    """Rows (width `dim`) for the ids of single-valued features, means of rows for multi-valued.

    The tables of all features are the rows of one, `table`, single-valued features first: one
    lookup serves all. A sample without any value of a multi-valued feature has zeros there.

    Args:
        vocab_sizes: rows of each single-valued feature; row 0 is by convention that of unknown
            ones.
        multi_vocab_sizes: rows of each multi-valued feature.
        dim: width of a row.
        embedding_std: of the table's first values.
        sparse: give the table sparse gradients, of the rows that were looked up.
        table_dtype: "float32": the table has the precision of the network around it. "bfloat16":
            it keeps this one whatever the network is cast to; what is looked up is computed with
            in the network's. "int8": whole numbers from -127 to 127 and a scale per row; not for
            training.
    """

    sizes: Tensor
    starts: Tensor
    like: Tensor
    table: Tensor
    scales: Tensor | None

    def __init__(
        self,
        vocab_sizes: Sequence[int],
        multi_vocab_sizes: Sequence[int] = (),
        *,
        dim: int,
        embedding_std: float = 0.01,
        sparse: bool = False,
        table_dtype: TableDtype = "float32",
    ) -> None:
        nn.Module.__init__(self)
        at_least(1, dim=dim)
        at_least(1, **{f"vocab_sizes[{i}]": size for i, size in enumerate(vocab_sizes)})
        at_least(1, **{f"multi_vocab_sizes[{i}]": size for i, size in enumerate(multi_vocab_sizes)})
        one_of("table_dtype", table_dtype, ["float32", "bfloat16", "int8"])
        self.single, self.multi, self.dim = len(vocab_sizes), len(multi_vocab_sizes), dim
        self.sparse, self.table_dtype = sparse, table_dtype
        rows = (*vocab_sizes, *multi_vocab_sizes)
        self.register_buffer("sizes", torch.tensor(rows, dtype=torch.int64), persistent=False)
        self.register_buffer("starts", row_starts(rows), persistent=False)
        # its precision is that of the network, which a table in another one does not tell
        self.register_buffer("like", torch.empty(0), persistent=False)
        shape, narrow = (sum(rows), dim), table_dtype == "int8"
        self.register_buffer("scales", torch.ones(shape[0]) if narrow and rows else None)
        if narrow or not rows:
            dtype = torch.int8 if narrow else None
            self.register_buffer("table", torch.zeros(shape, dtype=dtype), persistent=bool(rows))
        else:
            dtype = torch.bfloat16 if table_dtype == "bfloat16" else None
            self.table = nn.Parameter(torch.empty(shape, dtype=dtype).normal_(std=embedding_std))

    def rows(self, categorical: Int[Tensor, "b n"]) -> Int[Tensor, "b n"]:
        """Rows of the table for the ids of single-valued features."""
        return check_ids(categorical, self.sizes[: self.single]) + self.starts[: self.single]

    def looked_up(self, rows: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        """Rows of the table, in the network's precision."""
        if self.scales is not None:
            return F.embedding(rows, self.table) * self.scales[rows][..., None]
        found = F.embedding(rows, self.table, sparse=self.sparse)
        return found.to(self.like.dtype) if self.table_dtype == "bfloat16" else found

    def parts(
        self,
        categorical: Int[Tensor, "b n"],
        values: Int[Tensor, " v"] | None,
        lengths: Int[Tensor, "b k"] | None,
    ) -> list[Float[Tensor, "b _m d"]]:
        """Of the single-valued features, then of the multi-valued ones, where there are some."""
        single = self.rows(categorical)
        parts = [self.looked_up(single)] if self.single else []
        if self.multi:
            parts.append(self.means(values, lengths, categorical.shape[0]))
        elif values is not None and values.numel():
            raise ValueError("values are given, but the network has no multi-valued features")
        return parts

    def means(
        self, values: Int[Tensor, " v"] | None, lengths: Int[Tensor, "b k"] | None, batch: int
    ) -> Float[Tensor, "b k d"]:
        """Means of rows for the multi-valued features."""
        values, bags, bag = check_lists(values, lengths, self.sizes[self.single :], batch)
        rows = values + self.starts[self.single :][bag % self.multi]
        # programs in ONNX have no bags, and bags of narrow numbers sum narrowly
        if self.table_dtype != "float32" or torch.compiler.is_exporting():
            found = self.looked_up(rows)
            sums = found.new_zeros(bags.shape[0], self.dim).index_add(0, bag, found)
            means = sums / bags.clamp(min=1)[:, None]
        else:
            ends = F.pad(bags.cumsum(0), (1, 0))
            means = F.embedding_bag(
                rows, self.table, ends, mode="mean", sparse=self.sparse, include_last_offset=True
            )
        return means.unflatten(0, (batch, self.multi))

    def sums(self, categorical: Int[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Sums over the single-valued features."""
        rows = self.rows(categorical)
        if traced():  # programs in ONNX have no bags, and compilers fuse
            return self.looked_up(rows).sum(1)
        if self.table_dtype == "float32":
            return F.embedding_bag(rows, self.table, mode="sum")
        size = max(1, _BLOCK // (self.single * self.dim))
        return torch.cat([self._summed(part) for part in rows.split(size)])

    def _summed(self, rows: Int[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Sums of narrow rows; those in int8 are multiplied by their scales in the same pass."""
        if self.scales is None:
            return self.looked_up(rows).sum(1)
        found = F.embedding(rows, self.table).to(self.scales.dtype)
        return torch.bmm(self.scales[rows][:, None], found)[:, 0]

    @torch.no_grad()
    def write(self, first: int, rows: Float[Tensor, "n d"]) -> None:
        """Set rows from `first` on, rounded to the table's precision.

        In int8 each row is a multiple of its own largest number / 127.
        """
        own = slice(first, first + len(rows))
        if self.scales is not None:
            scale = rows.abs().amax(1) / 127
            self.scales[own] = torch.where(scale > 0, scale, 1.0).to(self.scales)
            rows = (rows / self.scales[own].to(rows)[:, None]).round().clamp(-127, 127)
        self.table[own] = rows.to(self.table)

    def extra_repr(self) -> str:
        return f"{len(self.table)} rows of {self.dim}, {self.table_dtype}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move and cast, as every module does; a table in bfloat16 stays in it."""
        super()._apply(fn, recurse)
        own: Any = self.table
        if self.table_dtype == "bfloat16" and own.dtype != torch.bfloat16:
            own.data = own.data.to(torch.bfloat16)
        return self
