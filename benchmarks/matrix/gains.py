"""How much faster a model is than its formulas taken literally: kept measurements."""

from __future__ import annotations

from benchmarks.matrix.kept import Source, span

__all__ = ["against_literal"]

_LITERAL = {
    "galerkin1d": Source("galerkin", "training_gain", "^Burgers", "training"),
    "galerkin2d": Source("galerkin", "training_gain", "^Darcy", "training"),
    "factformer2d": Source("factformer", "forward_gain", note="forward"),
    "ifactformer": Source("ifactformer", "gain", "forward *$", "forward"),
    "gnot": Source("gnot", "training_gain", "gnot", "training"),
    "cgptno": Source("gnot", "training_gain", "cgpt", "training"),
    "itransformer": Source("itransformer", "training_gain", note="training"),
    "informer": Source("informer", "gain", "^model", "whole model"),
    "card": Source("card", "training_gain", note="training"),
    "samformer": Source("samformer", "training_gain", note="training"),
    "pathformer": Source("pathformer", "training_gain", note="training"),
    "cct": Source("cct", "training_gain", "^cct", "training, float32"),
    "vit_lite": Source("cct", "training_gain", "^vit", "training, float32"),
    "vitpose": Source("vitpose", "training_gain", note="training"),
    "vitpose_plus": Source("vitpose-plus", "gain_over_literal", note="forward"),
    "equiformer_v2": Source("equiformer_v2", "forward_gain", note="forward"),
    "rt1": Source("robotics", "gain", "RT-1 action", "an action after the encoder"),
    "dit_policy": Source("robotics", "gain", "DiT", "a chunk of actions"),
    "dpt": Source("dpt", "side_by_side_gain", "^dpt", "evaluation"),
    "in_context_bandit": Source("dpt", "side_by_side_gain", "bandit", "evaluation"),
    "hiformer": Source("hiformer", "against_loop", "training step", "training, `feature` kind"),
    "folded_hiformer": Source("hiformer", "against_unfolded", "lowrank, folded$", "serving"),
    "jetformer": Source("jetformer", "training_gain", note="training"),
    "ast": Source("audio", "training_gain", "ast", "training"),
    "passt": Source("audio", "evaluation_gain", "passt", "forward"),
    **{
        name: Source("literal", "training_gain", f"^{name} ", "training")
        for name in (
            "factformer2d_steady", "factformer3d", "informer_stack", "cvt", "hpt", "dit_noise_net",
            "adapted", "pyformer",
        )
    },
    **{
        name: Source("literal", "training_gain", f"^{name} ", "training, attention alone literal")
        for name in ("autoint", "fastformer", "sequence_encoder")
    },
}  # fmt: skip
# models that are computed in one way only, or why there is no other
_ONE_PATH = {
    "hpt_embodiments": "as hpt, of which its robots are",
    "bc_mlp": "one path only",
    "dcn_v2": "one path only",
    "dlrm": "one path only",
    "spectral_cnn": "one path only",
    "fixed_jetformer": "one path only: rounding is emulated",
}


def against_literal(model: str) -> str:
    """Such as "1.1x to 1.3x, training"; of models without a literal path why."""
    if model in _LITERAL:
        return span(_LITERAL[model])
    return _ONE_PATH.get(model, "not measured")
