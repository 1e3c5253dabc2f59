"""What the package ships of a model, or why it ships nothing."""

from __future__ import annotations

__all__ = ["shipped"]

_PART = "none: a part or a variant of others"
_BASELINE = "none: a baseline"
_SERIES = "none: a forecaster belongs to its series, and its recipe takes minutes"
_DATA = "none: not trained here"
_NONE = {
    "factformer3d": _DATA,
    "cgptno": _PART,
    "informer": _SERIES,
    "informer_stack": _PART,
    "card": _SERIES,
    "samformer": _SERIES,
    "pathformer": _SERIES,
    "vitpose_plus": _DATA,
    "cvt": _PART,
    "vit_lite": _PART,
    "in_context_bandit": "none: its recipe takes minutes",
    "dit_noise_net": _PART,
    "hpt": "none: 7.6 MB, and what ships stays below 5",
    "hpt_embodiments": _DATA,
    "rt1": "none: its encoder alone is larger than the 5 MB below which what ships stays",
    "bc_mlp": _BASELINE,
    "autoint": _BASELINE,
    "dcn_v2": _BASELINE,
    "dlrm": _BASELINE,
    "adapted": "none: adapters of ast-sounds, and their recipe takes minutes",
    "spectral_cnn": _BASELINE,
    "fixed_jetformer": "none: its recipe takes minutes",
    "fastformer": _PART,
    "sequence_encoder": "none: its recipe takes minutes",
}


def shipped(model: str, names: list[str]) -> str:
    """The names in the index.

    Raises:
        KeyError: a model of which nothing ships and nobody said why.
    """
    return ", ".join(names) or _NONE[model]
