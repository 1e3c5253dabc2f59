"""How much faster a model is than the literal path, and than a peer's code: kept measurements."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from benchmarks import RESULTS

__all__ = ["against_literal", "against_peer"]


class _Source(NamedTuple):
    results: str  # benchmarks/results/<results>.json
    column: str
    rows: str = ""  # pattern that the words of a row have
    note: str = ""


_LITERAL = {
    "galerkin1d": _Source("galerkin", "training_gain", "^Burgers", "training"),
    "galerkin2d": _Source("galerkin", "training_gain", "^Darcy", "training"),
    "factformer2d": _Source("factformer", "forward_gain", note="forward"),
    "ifactformer": _Source("ifactformer", "gain", "forward *$", "forward"),
    "gnot": _Source("gnot", "training_gain", "gnot", "training"),
    "cgptno": _Source("gnot", "training_gain", "cgpt", "training"),
    "itransformer": _Source("itransformer", "training_gain", note="training"),
    "informer": _Source("informer", "gain", "^model", "whole model"),
    "card": _Source("card", "training_gain", note="training"),
    "samformer": _Source("samformer", "training_gain", note="training"),
    "pathformer": _Source("pathformer", "training_gain", note="training"),
    "cct": _Source("cct", "training_gain", note="training, float32"),
    "vitpose": _Source("vitpose", "training_gain", note="training"),
    "vitpose_plus": _Source("vitpose-plus", "gain_over_literal", note="forward"),
    "equiformer_v2": _Source("equiformer_v2", "forward_gain", note="forward"),
    "rt1": _Source("robotics", "gain", "RT-1 action", "an action after the encoder"),
    "dit_policy": _Source("robotics", "gain", "DiT", "a chunk of actions"),
    "dpt": _Source("dpt", "side_by_side_gain", "^dpt", "evaluation"),
    "in_context_bandit": _Source("dpt", "side_by_side_gain", "bandit", "evaluation"),
    "hiformer": _Source("hiformer", "against_loop", "training step", "training, `feature` kind"),
    "folded_hiformer": _Source("hiformer", "against_unfolded", "lowrank, folded$", "serving"),
    "jetformer": _Source("jetformer", "training_gain", note="training"),
    "ast": _Source("audio", "training_gain", "ast", "training"),
    "passt": _Source("audio", "evaluation_gain", "passt", "forward"),
}
_PEER = {
    "cct": _Source("cct", "training_gain_over_peer", note="vit-pytorch, training"),
    "vitpose": _Source("vitpose", "gain_over_transformers", note="transformers, forward"),
}
_ACCURACY = {  # files with a row per side
    "galerkin2d": "accuracy-darcy",
    "factformer2d": "accuracy-kolmogorov",
    "gnot": "accuracy-ns2d-c",
}


def against_literal(model: str) -> str:
    """Such as "1.1x to 1.3x, training"."""
    return _span(_LITERAL[model]) if model in _LITERAL else "not measured"


def against_peer(model: str) -> str:
    """Speed where it was measured, errors after equal time of training where these were."""
    found = [_span(_PEER[model])] if model in _PEER else []
    if model in _ACCURACY:
        rows = _rows(_ACCURACY[model])
        errors = [f"{row['model']} {row['test/relative_l2/clean']:.3g}" for row in rows]
        found.append(f"relative L2: {', '.join(errors)}")
    if model in ("itransformer", "informer"):
        found += _epochs(model)
    return "; ".join(found) or "no peer measured"


def _epochs(model: str) -> list[str]:
    rows = {row["side"]: row for row in _rows("forecasting") if row["model"] == model}
    ours = rows.pop("ours", None)
    if ours is None:
        return []
    return [
        f"{row['train_seconds'] / ours['train_seconds']:.2g}x {side}, an epoch"
        for side, row in rows.items()
    ]


def _span(source: _Source) -> str:
    """The least and the largest gain of the rows."""
    gains = [
        row[source.column]
        for row in _rows(source.results)
        if isinstance(row.get(source.column), int | float) and _matches(row, source.rows)
    ]
    if not gains:
        return "not measured"
    ends = dict.fromkeys(f"{end:.2g}x" for end in (min(gains), max(gains)))
    return ", ".join(filter(None, [" to ".join(ends), source.note]))


def _matches(row: dict[str, Any], pattern: str) -> bool:
    words = " ".join(value for value in row.values() if isinstance(value, str))
    return bool(re.search(pattern, f"{words} " if pattern.endswith(" ") else words))


def _rows(results: str) -> list[dict[str, Any]]:
    path = RESULTS / f"{results}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
