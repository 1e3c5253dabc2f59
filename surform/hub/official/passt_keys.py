"""Parameter names of PaSST: official <-> ours, one table read both ways."""

from __future__ import annotations

from surform.hub.official.renaming import Renaming

__all__ = ["OFFICIAL"]

OFFICIAL = Renaming(
    (
        ("cls_token", "class_token"),
        ("dist_token", "distillation_token"),
        ("new_pos_embed", "token_positions"),
        ("freq_new_pos_embed", "frequency_positions"),
        ("time_new_pos_embed", "time_positions"),
        ("patch_embed.proj.", "patch."),
        ("blocks.#.attn.qkv.", "blocks.#.attention.qkv."),
        ("blocks.#.attn.proj.", "blocks.#.attention.out."),
        ("blocks.#.mlp.fc1.", "blocks.#.feed_forward.up."),
        ("blocks.#.mlp.fc2.", "blocks.#.feed_forward.down."),
        ("pre_logits.fc.", "representation."),
        ("head.0.", "head_norm."),
        ("head.1.", "head."),
    )
)
