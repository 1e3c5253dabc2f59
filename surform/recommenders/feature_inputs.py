"""What a table of mixed features gives a network, checked: ids, ragged lists of ids, numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["check_ids", "check_lists", "checked_dense", "owners", "row_starts", "traced"]

_WHOLE = (torch.int64, torch.int32)


def traced() -> bool:
    """Whether a program is being recorded, which cannot look at values."""
    return torch.compiler.is_compiling() or torch.compiler.is_exporting()


def row_starts(sizes: Sequence[int]) -> Int[Tensor, " n"]:
    """Where the rows of each feature begin in one table of all of them."""
    return torch.tensor([0, *sizes]).cumsum(0)[:-1].clone()


def owners(lengths: Int[Tensor, " bags"], count: int) -> Int[Tensor, " values"]:
    """Which bag each of `count` values belongs to; bags may be empty."""
    ends = lengths.cumsum(0)
    closed = lengths.new_zeros(count + 1).index_add(0, ends, torch.ones_like(ends))
    return closed.cumsum(0)[:count]


def check_ids(ids: Int[Tensor, "b n"], sizes: Int[Tensor, " n"]) -> Int[Tensor, "b n"]:
    """Ids of single-valued features as they are; recorded programs take unknown ones for row 0.

    Raises:
        ValueError: another shape or dtype, or an id that its feature does not have.
    """
    if ids.ndim != 2 or ids.shape[1] != len(sizes):
        raise ValueError(
            f"categorical has shape {tuple(ids.shape)}, but must be (batch, {len(sizes)}): one id "
            "per single-valued feature"
        )
    _require_whole("categorical", ids)
    return _known(ids, sizes, "categorical feature")


def check_lists(
    values: Int[Tensor, " values"] | None,
    lengths: Int[Tensor, "b m"] | None,
    sizes: Int[Tensor, " m"],
    batch: int,
) -> tuple[Int[Tensor, " values"], Int[Tensor, " bags"], Int[Tensor, " values"]]:
    """(values, lengths of the bags, bag of each value), bags in the order (sample, feature).

    Raises:
        ValueError: missing, of another shape, lengths that do not add up, or unknown ids.
    """
    count = len(sizes)
    if values is None or lengths is None:
        raise ValueError(f"values and lengths of {count} multi-valued features are missing")
    if tuple(lengths.shape) != (batch, count):
        raise ValueError(
            f"lengths has shape {tuple(lengths.shape)}, but must be ({batch}, {count}): how many "
            "values each sample has of each multi-valued feature"
        )
    if values.ndim != 1:
        raise ValueError(
            f"values has shape {tuple(values.shape)}, but must be one row of ids: those of the "
            "first sample, feature by feature, then those of the second"
        )
    _require_whole("values", values)
    _require_whole("lengths", lengths)
    values, bags = values.long(), lengths.long().reshape(-1)
    if not traced():
        if bool((bags < 0).any()):
            raise ValueError(f"lengths holds {int(bags.min())}, but lengths are 0 or more")
        if int(bags.sum()) != len(values):
            raise ValueError(
                f"lengths add up to {int(bags.sum())}, but there are {len(values)} values"
            )
    bag = owners(bags, values.shape[0])
    feature = bag % count
    if traced():
        return torch.where(_inside(values, sizes[feature]), values, 0), bags, bag
    wrong = ~_inside(values, sizes[feature])
    if bool(wrong.any()):
        place = int(wrong.nonzero()[0])
        which = int(feature[place])
        raise ValueError(
            f"sample {int(bag[place]) // count} has the id {int(values[place])} of the "
            f"multi-valued feature {which}, which has the ids 0 to {int(sizes[which]) - 1}"
        )
    return values, bags, bag


def checked_dense(
    dense: Float[Tensor, "b n"] | None, count: int, batch: int, into: nn.Module | None
) -> Float[Tensor, "b n"] | None:
    """Numbers in the precision of `into`, the network that takes them; None where none are taken.

    Raises:
        ValueError: numbers that are missing, not asked for, of another shape, or not finite.
    """
    if not count or into is None:
        if dense is not None and dense.numel():
            raise ValueError(f"dense has shape {tuple(dense.shape)}, but the network takes none")
        return None
    if dense is None:
        raise ValueError(f"dense is missing: the network takes {count} numbers per sample")
    if dense.ndim != 2 or dense.shape[1] != count or dense.shape[0] != batch:
        raise ValueError(f"dense has shape {tuple(dense.shape)}, but must be ({batch}, {count})")
    if not dense.is_floating_point():
        raise ValueError(f"dense is {dense.dtype}, but must be floating point")
    if not traced() and not bool(torch.isfinite(dense).all()):
        sample, column = (~torch.isfinite(dense)).nonzero()[0].tolist()
        raise ValueError(
            f"sample {sample} has {dense[sample, column].item()} as dense number {column}, but "
            "numbers must be finite: fill what is missing first"
        )
    return dense.to(next(into.parameters()).dtype)


def _require_whole(name: str, ids: Tensor) -> None:
    if ids.dtype not in _WHOLE:
        raise ValueError(f"{name} is {ids.dtype}, but must be int64 or int32")


def _inside(ids: Tensor, sizes: Tensor) -> Tensor:
    return (ids >= 0) & (ids < sizes)


def _known(ids: Tensor, sizes: Tensor, what: str) -> Tensor:
    if traced():
        return torch.where(_inside(ids, sizes), ids, 0)
    wrong = ~_inside(ids, sizes)
    if bool(wrong.any()):
        sample, feature = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"sample {sample} has the id {int(ids[sample, feature])} of the {what} {feature}, "
            f"which has the ids 0 to {int(sizes[feature]) - 1}"
        )
    return ids
