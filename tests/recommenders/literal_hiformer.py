"""Hiformer literally: loops over samples, tokens and heads, one vector after the other.

The equations of Gui et al., 2023 (arXiv 2311.05884), for comparing digits; takes the weights of a
`surform.recommenders.hiformer.Hiformer` and computes without any of its code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["literal_logits", "literal_tokens"]


def literal_logits(net, categorical, dense=None, values=None, lengths=None) -> Tensor:
    """(B, tasks), sample by sample."""
    lists = _split(values, lengths)
    rows = []
    for sample in range(len(categorical)):
        own = lists[sample] if lists else []
        numbers = None if dense is None else dense[sample]
        rows.append(_logits(net, literal_tokens(net, categorical[sample], numbers, own)))
    return torch.stack(rows)


def literal_tokens(net, ids, numbers, lists) -> list[Tensor]:
    """Tokens of the features of one sample."""
    given, table, tokens = net.arguments, net.features.table, []
    start = 0
    for size, one in zip(given["vocab_sizes"], ids.tolist(), strict=True):
        tokens.append(table[start + one])
        start += size
    for size, many in zip(given["multi_vocab_sizes"], lists, strict=True):
        rows = [table[start + one] for one in many]
        tokens.append(sum(rows) / len(rows) if rows else torch.zeros_like(table[0]))
        start += size
    if numbers is not None:
        first, _, second = net.features.dense
        hidden = F.gelu(first.weight @ numbers + first.bias)
        flat = second.weight @ hidden + second.bias
        tokens += list(flat.split(given["dim"]))
    return tokens


def _split(values, lengths) -> list[list[list[int]]]:
    if values is None:
        return []
    found, rest = [], values.tolist()
    for row in lengths.tolist():
        found.append([])
        for count in row:
            found[-1].append(rest[:count])
            rest = rest[count:]
    return found


def _logits(net, features: list[Tensor]) -> Tensor:
    given = net.arguments
    x = features + list(net.task_tokens)
    if net.positions is not None:
        x = [one + place for one, place in zip(x, net.positions, strict=True)]
    for layer in net.layers:
        x = _layer(layer, x, given)
    logits = []
    for task, token in enumerate(x[-given["tasks"] :]):
        if given["norm"] == "pre":
            token = _norm(net.final_norm, token)
        for stage in net.head.tower:
            token = F.gelu(token @ stage.weight[task] + stage.bias[task])
        logits.append(token @ net.head.weight[task] + net.head.bias[task])
    found = torch.stack(logits)
    if net.deep is not None:
        y = torch.cat(features)
        for stage in net.deep:
            y = stage(y)
        found = found + y
    return found


def _layer(layer, x: list[Tensor], given) -> list[Tensor]:
    after = layer.after
    heads, width, norm = given["heads"], given["key_dim"], given["norm"]
    seen = [_norm(after.norm1, one) for one in x] if norm == "pre" else x
    asking = range(len(x)) if layer.queries is None else range(len(x) - layer.queries, len(x))
    keys = [_vector(layer, "k", seen, j, j, heads) for j in range(len(x))]
    values = [_vector(layer, "v", seen, j, j, heads) for j in range(len(x))]
    out = []
    for place, i in enumerate(asking):
        query = _vector(layer, "q", seen, i, place, heads)
        taken = []
        for h in range(heads):
            scores = [query[h] @ keys[j][h] / math.sqrt(width) for j in range(len(x))]
            top = max(float(score.detach()) for score in scores)
            weights = [torch.exp(score - top) for score in scores]
            total = sum(weights)
            taken.append(sum(w / total * values[j][h] for j, w in enumerate(weights)))
        z = x[i] + _map(after.out, place, torch.cat(taken))
        if norm == "post":
            z = _norm(after.norm1, z)
        inner = _norm(after.norm2, z) if norm == "pre" else z
        up, down = after.feed_forward.up, after.feed_forward.down
        z = z + _map(down, place, F.gelu(_map(up, place, inner)))
        out.append(_norm(after.norm2, z) if norm == "post" else z)
    return out


def _vector(layer, letter: str, x: list[Tensor], i: int, place: int, heads: int) -> list[Tensor]:
    """The query, key or value of token i, one vector per head; `place`: its weights' number."""
    names = next(names for names in layer.maps if letter in names)
    of = layer.maps[names]
    if hasattr(of, "widths"):
        whole = _map(of, place, x[i]).reshape(heads, -1)
        return list(whole.split(of.widths, 1)[names.index(letter)])
    matrix = of.left @ of.right.T if hasattr(of, "left") else of.weight
    whole = torch.cat(x) @ matrix + of.bias
    return list(whole.reshape(heads, len(x), -1)[:, i])


def _map(of, place: int, x: Tensor) -> Tensor:
    if of.weight.ndim == 2:
        return of.weight @ x + of.bias
    return x @ of.weight[place] + of.bias[place]


def _norm(of, x: Tensor) -> Tensor:
    mean = x.mean()
    variance = ((x - mean) ** 2).mean()
    return (x - mean) / torch.sqrt(variance + of.eps) * of.weight + of.bias
