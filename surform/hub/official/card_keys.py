"""Parameter names of CARD: official state dict <-> ours."""

from __future__ import annotations

import re

from torch import Tensor

__all__ = ["DROPPED", "to_official", "to_ours"]

State = dict[str, Tensor]

_BLOCK = (
    ("qkv.", "qkv."),
    ("norm_post1.1.", "feed_forward.norms.0."),
    ("norm_post2.1.", "feed_forward.norms.1."),
    ("ff_1.0.", "feed_forward.up.0."),
    ("ff_1.3.", "feed_forward.down.0."),
    ("ff_2.0.", "feed_forward.up.1."),
    ("ff_2.3.", "feed_forward.down.1."),
    ("norm_attn.1.", "norm."),
)
_SUMMARIES = (("dp_k.", "summarize_keys."), ("dp_v.", "summarize_values."))
# (official, ours) with "#" for the number of the layer
_TABLE = (
    ("model.W_pos_embed", "embedding.positions"),
    ("model.W_input_projection.", "embedding.project."),
    ("model.cls", "embedding.first"),
    ("model.W_statistic.", "embedding.statistic."),
    ("model.W_out.", "head."),
    ("model.Attentions_mlp.#.", "layers.#.mix."),
    ("model.Attentions_norm.#.1.", "layers.#.norm."),
    *((f"model.Attentions_over_token.#.{a}", f"layers.#.over_tokens.{b}") for a, b in _BLOCK),
    *(
        (f"model.Attentions_over_channel.#.{a}", f"layers.#.over_variates.{b}")
        for a, b in (*_BLOCK, *_SUMMARIES)
    ),
)
DROPPED = {
    "model.Attentions_over_*.ema_matrix": "follows from alpha and the number of tokens",
    "model.Attentions_over_*.mlp.*": "the official forward pass never uses it",
    "model.Attentions_over_token.*.dp_*": "only attention over channels uses its projections",
    "model.cls": "unused where the first token is the statistics'",
    "model.W_statistic.*": "unused where the first token is learned",
}


def to_ours(state: State, statistic_token: bool) -> State:
    """Official state dict -> ours; what the official forward pass never reads is left out."""
    unused = "embedding.first" if statistic_token else "embedding.statistic."
    renamed = {_rename(key, 0): value for key, value in state.items()}
    return {
        name: value
        for name, value in renamed.items()
        if not name.startswith((unused, "model.Attentions_over_"))
    }


def to_official(state: State) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    return {_rename(name, 1): value for name, value in state.items()}


def _rename(key: str, source: int) -> str:
    for pair in _TABLE:
        pattern = re.escape(pair[source]).replace(r"\#", r"(\d+)")
        found = re.match(pattern, key)
        if found:
            layer = found.group(1) if found.groups() else ""
            return pair[1 - source].replace("#", layer) + key[found.end() :]
    return key
