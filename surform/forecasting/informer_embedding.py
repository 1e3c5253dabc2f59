"""What the Informer's encoder and decoder read: values, positions and the calendar, added up."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.circular_conv import CircularConv
from surform.layers.sinusoid import sinusoid

__all__ = ["Calendar", "CalendarTables", "SeriesEmbedding"]

Calendar = Literal["continuous", "fixed", "learned"]

_TABLES = {"month": 13, "day of the month": 32, "weekday": 7, "hour": 24, "quarter hour": 4}


class SeriesEmbedding(nn.Module):
    """Convolution of the values + sinusoid of the position + calendar: (b, l, v) -> (b, l, dim).

    Args:
        marks: calendar columns (M); 0 for none.
        calendar: "continuous" maps the columns linearly; "fixed" and "learned" look whole numbers
            up in tables, see `CalendarTables`.
        length: usual number of steps; longer inputs make their positions anew in each call.
    """

    positions: Tensor

    def __init__(
        self,
        variates: int,
        dim: int,
        *,
        marks: int,
        calendar: Calendar = "continuous",
        length: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.values = CircularConv(variates, dim)
        nn.init.kaiming_normal_(self.values.taps.weight, mode="fan_in", nonlinearity="leaky_relu")
        self.calendar: nn.Module | None = None
        if marks:
            linear = calendar == "continuous"
            self.calendar = (
                nn.Linear(marks, dim)
                if linear
                else CalendarTables(marks, dim, learned=calendar == "learned")
            )
        self.register_buffer("positions", sinusoid(length, dim), persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, values: Float[Tensor, "b l v"], marks: Float[Tensor, "b l m"] | None = None
    ) -> Float[Tensor, "b l c"]:
        x = self.values(values) + self._positions(values.shape[1])
        if self.calendar is not None and marks is not None:
            x = x + self.calendar(marks)
        return self.dropout(x)

    def _positions(self, length: int) -> Tensor:
        if length <= self.positions.shape[0]:
            return self.positions[:length]
        return sinusoid(length, self.positions.shape[1]).to(self.positions)


class CalendarTables(nn.Module):
    """One row of a table per whole-numbered column, added up: (b, l, marks) -> (b, l, dim).

    Args:
        marks: how many of month 1..12, day of the month 1..31, weekday 0..6, hour 0..23 and quarter
            of the hour 0..3, in this order (the encoding "integer" of `surform.data.calendar`).
        learned: trainable tables; otherwise sinusoids that stay as they are.
    """

    def __init__(self, marks: int, dim: int, *, learned: bool) -> None:
        super().__init__()
        if marks > len(_TABLES):
            raise ValueError(
                f"marks is {marks}, but calendar tables exist for {len(_TABLES)} columns: "
                f"{', '.join(_TABLES)}"
            )
        sizes = list(_TABLES.values())[:marks]
        self.tables = nn.ModuleList(
            nn.Embedding(size, dim) if learned else nn.Embedding.from_pretrained(_frozen(size, dim))
            for size in sizes
        )

    def forward(self, marks: Float[Tensor, "b l m"]) -> Float[Tensor, "b l c"]:
        """Raises ValueError for marks that are no rows of the tables, such as scaled ones."""
        if not torch.compiler.is_compiling():
            self._check(marks)
        rows = marks.long().unbind(-1)
        found = [table(row) for table, row in zip(self.tables, rows, strict=True)]
        return torch.stack(found).sum(0) if len(found) > 1 else found[0]

    def _check(self, marks: Tensor) -> None:
        for (name, size), column in zip(_TABLES.items(), marks.unbind(-1), strict=False):
            fits = (column >= 0) & (column < size) & (column == column.floor())
            if not bool(fits.all()):
                wrong = column[~fits][0].item()
                raise ValueError(
                    f"the calendar column {name} holds {wrong:g}, but tables need whole numbers "
                    f"from 0 to {size - 1}: give marks in the integer encoding"
                )


def _frozen(size: int, dim: int) -> Tensor:
    return sinusoid(size, dim).to(torch.get_default_dtype())
