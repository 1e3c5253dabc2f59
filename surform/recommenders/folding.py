"""Fold a trained Hiformer: tables through the projections, queries into the map of the keys."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from surform.recommenders.feature_tables import TableDtype
from surform.recommenders.folded_hiformer import FoldedHiformer, require_foldable
from surform.recommenders.hiformer import Hiformer
from surform.recommenders.hiformer_layer import HiformerLayer

__all__ = ["fold"]

_ROWS = 1 << 15  # of a table that are folded at a time


@torch.no_grad()
def fold(net: Hiformer, table_dtype: TableDtype = "float32") -> FoldedHiformer:
    """The same function with folded tables, in evaluation mode; sums are made in float64.

    Args:
        table_dtype: of the folded rows; "float32" is the network's own precision, "bfloat16" and
            "int8" round each row.

    Raises:
        ValueError: more than one layer, or an unpruned one.
    """
    given = net.__dict__["arguments"]
    require_foldable(given)
    like = next(net.parameters())
    made = FoldedHiformer(given, table_dtype).to(like.dtype)
    folding = _Folding(copy.deepcopy(net).double().cpu().eval(), made)
    folding.tables()
    folding.numbers()
    folding.computed_tokens()
    folding.constants()
    folding.maps()
    folding.kept_parts()
    return made.to(like.device).eval()


class _Folding:
    """One fold from `net` in float64 into `made`, a table at a time."""

    def __init__(self, net: Hiformer, made: FoldedHiformer) -> None:
        self.net, self.made, self.features = net, made, net.features
        self.layer = cast(HiformerLayer, net.layers[0])
        self.low_rank = made.kind == "lowrank"
        tasks = net.task_tokens
        self.tasks = tasks if net.positions is None else tasks + net.positions[-net.tasks :]
        asked = cast(Any, self.layer.maps["q"])(self.layer.after.given(self.tasks)[:, None])
        self.query = asked[0][0] * asked[0].shape[-1] ** -0.5  # (heads, tasks, key_dim)

    def adds(self, x: Tensor, token: int) -> Tensor:
        """What vectors (n, dim) of a token add to the folded rows: (n, width)."""
        keys, values = (x @ self.matrix(letter, token) for letter in "kv")
        if self.low_rank:
            return torch.cat((keys, values), 1)
        return self.row(
            *(x.unflatten(1, (self.made.heads, self.slots, -1)) for x in (keys, values))
        )

    @property
    def slots(self) -> int:
        """Tokens of which a folded row holds scores and values."""
        return 1 if self.made.by_token else self.net.tokens

    def row(self, keys: Tensor, values: Tensor) -> Tensor:
        """Keys and values (n, heads, slots, width) in the order of a folded row."""
        scores = self.as_scores(keys)
        if self.made.by_token:
            return torch.cat((scores, values), -1).flatten(1)
        return torch.cat((scores.flatten(1), values.flatten(1)), 1)

    def as_scores(self, keys: Tensor) -> Tensor:
        """(n, heads, slots, key_dim) -> (n, heads, slots, tasks)."""
        return torch.einsum("nhsd,htd->nhst", keys, self.query)

    def part(self, letter: str) -> tuple[Any, slice]:
        """The map of keys or values, and which of a head's columns are theirs."""
        names = next(names for names in self.layer.maps if letter in names)
        each: Any = self.layer.maps[names]
        if not self.made.by_token:
            return each, slice(None)
        first = sum(each.widths[: names.index(letter)])
        return each, slice(first, first + each.widths[names.index(letter)])

    def matrix(self, letter: str, token: int) -> Tensor:
        """What a token's vector is multiplied by (first), (dim, outputs)."""
        each, columns = self.part(letter)
        if self.made.by_token:
            own = each.weight.T if isinstance(each, nn.Linear) else each.weight[token]
            return own.unflatten(1, (self.made.heads, -1))[..., columns].flatten(1)
        whole = each.left if self.low_rank else each.weight
        return whole.unflatten(0, (self.net.tokens, -1))[token]

    def bias(self, letter: str) -> Tensor:
        """(slots' tokens, heads, slots, width)."""
        each, columns = self.part(letter)
        heads = self.made.heads
        if self.made.by_token:
            own = each.bias.reshape(-1, heads, 1, each.bias.shape[-1] // heads)[..., columns]
            return own.expand(self.net.tokens, -1, -1, -1)
        return each.bias.unflatten(0, (heads, self.net.tokens, -1))[None]

    def position(self, token: int) -> Tensor:
        places = self.net.positions
        return torch.zeros_like(self.tasks[0]) if places is None else places[token]

    def tables(self) -> None:
        rows = self.made.rows
        if rows is None:
            return
        sizes = rows.sizes.tolist()
        start = 0
        for token, size in enumerate(sizes):
            for first in range(start, start + size, _ROWS):
                last = min(first + _ROWS, start + size)
                own = self.features.table[first:last].double()  # bfloat16 stays so when cast
                if token < self.features.single:
                    own = self.layer.after.given(own + self.position(token))
                rows.write(first, self.adds(own, token))
            start += size

    def numbers(self) -> None:
        if self.made.numbers is None or self.features.dense is None:
            return
        count, first = self.features.dense_tokens, self.features.single + self.features.multi
        hidden, _, last = self.features.dense
        weight = cast(nn.Linear, last).weight.T.unflatten(1, (count, -1))  # (hidden, tokens, dim)
        bias = cast(nn.Linear, last).bias.unflatten(0, (count, -1))
        into = cast(nn.Linear, self.made.numbers[2])
        maps = torch.stack([self.adds(weight[:, n], first + n) for n in range(count)], 1)
        shifts = torch.stack([self.adds(bias[n][None], first + n)[0] for n in range(count)])
        if not self.made.by_token:
            maps, shifts = maps.sum(1), shifts.sum(0)
        into.weight.copy_(maps.flatten(1).T)
        into.bias.copy_(shifts.flatten())
        self.made.numbers[0].load_state_dict(hidden.state_dict())

    def computed_tokens(self) -> None:
        if self.made.computed is None:
            return
        eye = torch.eye(self.features.dim, dtype=torch.float64)
        places = range(self.features.single, self.features.count)
        maps = [self.adds(eye, token) for token in places]
        whole = torch.stack(maps) if self.made.by_token else torch.cat(maps).T
        cast(Tensor, self.made.computed.weight).copy_(whole)
        if self.made.positions is not None:
            self.made.positions.copy_(torch.stack([self.position(token) for token in places]))

    def constants(self) -> None:
        """What task tokens, positions of tokens that are folded without them, and biases add."""
        first = self.features.count
        added = torch.zeros(self.net.tokens, self.made.width, dtype=torch.float64)
        for n, token in enumerate(self.layer.after.given(self.tasks)):
            added[first + n] = self.adds(token[None], first + n)[0]
        if self.made.computed is None:
            for token in range(self.features.single, first):
                added[token] = self.adds(self.position(token)[None], token)[0]
        whole = added if self.made.by_token else added.sum(0)
        if not self.low_rank:
            biases = self.row(self.bias("k"), self.bias("v"))
            whole = whole + (biases if self.made.by_token else biases[0])
        self.made.constant.copy_(whole)

    def maps(self) -> None:
        """From thin vectors to scores and values, where there are such."""
        made = self.made
        if made.scores is None or made.values is None:
            return
        right = self.part("k")[0].right.unflatten(0, (made.heads, self.net.tokens, -1))
        scores = torch.einsum("hldr,htd->hltr", right, self.query)
        made.scores.weight.copy_(scores.flatten(0, 2))
        made.scores.bias.copy_(self.as_scores(self.bias("k")).flatten())
        made.values.weight.copy_(self.part("v")[0].right)
        made.values.bias.copy_(self.bias("v").flatten())

    def kept_parts(self) -> None:
        self.made.task_tokens.copy_(self.tasks)
        self.made.after.load_state_dict(self.layer.after.state_dict())
        for name in ("head", "final_norm", "deep", "features"):
            part: nn.Module | None = getattr(self.made, name)
            if part is not None:
                part.load_state_dict(getattr(self.net, name).state_dict())
