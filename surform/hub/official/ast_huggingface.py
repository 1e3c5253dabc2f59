"""transformers' AST folders: their settings and names <-> those of the official code.

transformers runs all norms with one eps, 1e-12 by default, where the official code has 1e-6 and,
before the head, 1e-5; the number travels with the model.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from surform.hub.hugging_face import Layout
from surform.hub.official.ast_keys import OFFICIAL, hugging_face_entries
from surform.hub.official.entries import joined, split

__all__ = ["LAYOUT"]

State = dict[str, Tensor]
Values = dict[str, Any]

_DEFAULTS: Values = {  # what transformers leaves out of a config when it is as here
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "patch_size": 16,
    "qkv_bias": True, "frequency_stride": 10, "time_stride": 10, "max_length": 1024,
    "num_mel_bins": 128,
}  # fmt: skip
_ENCODER = "audio_spectrogram_transformer."
_HEAD = (("head_norm.", "classifier.layernorm."), ("head.", "classifier.dense."))


def _read(config: Values, state: State) -> tuple[Values, State]:
    """Official constructor arguments and state dict of what transformers wrote."""
    given = _DEFAULTS | config
    if given["hidden_act"] != "gelu" or not given["qkv_bias"]:
        raise ValueError(
            f"an AST with hidden_act {given['hidden_act']!r} and qkv_bias {given['qkv_bias']} is "
            "not supported: the published ones have gelu and True"
        )
    depth = given["num_hidden_layers"]
    entries = list(hugging_face_entries(depth, theirs=_ENCODER))
    known = {key for entry in entries for key in entry.official}
    ours = joined(state, entries)
    for key, value in state.items():
        if key not in known:
            ours[_renamed(key, 1)] = value
    constructor = {
        "label_dim": len(state["classifier.dense.weight"]),
        "fstride": given["frequency_stride"],
        "tstride": given["time_stride"],
        "input_fdim": given["num_mel_bins"],
        "input_tdim": given["max_length"],
        "norm_eps": given["layer_norm_eps"],
        "head_eps": given["layer_norm_eps"],
        "patch_size": given["patch_size"],
        "mlp_ratio": given["intermediate_size"] / given["hidden_size"],
        "vit": {
            "dim": given["hidden_size"],
            "depth": depth,
            "heads": given["num_attention_heads"],
        },
    }
    return constructor, {OFFICIAL.official(key): value for key, value in ours.items()}


def _write(net: Any) -> tuple[Values, State] | None:
    """transformers' config and state dict of one of our networks."""
    given: Values = net.__dict__.get("arguments", {})
    if type(net).__name__ != "AST":
        return None
    patch, stride = net.patch.kernel_size, net.patch.stride
    if given["pooling"] != "both" or not given["head_norm"] or patch[0] != patch[1]:
        raise ValueError(
            "transformers' AST has no counterpart of other poolings than both, of head_norm=False, "
            "and of patches that are not square"
        )
    if given["norm_eps"] != given["head_eps"]:
        warnings.warn(
            f"transformers' AST has one eps for all norms: {given['norm_eps']:g} is written, and "
            f"the head's {given['head_eps']:g} is lost",
            stacklevel=3,
        )
    classes = range(given["num_classes"])
    config: Values = {
        "architectures": ["ASTForAudioClassification"],
        "model_type": "audio-spectrogram-transformer",
        "hidden_size": given["dim"],
        "num_hidden_layers": given["depth"],
        "num_attention_heads": given["heads"],
        "intermediate_size": round(given["dim"] * given["mlp_ratio"]),
        "hidden_act": "gelu",
        "layer_norm_eps": given["norm_eps"],
        "patch_size": patch[0],
        "qkv_bias": True,
        "frequency_stride": stride[0],
        "time_stride": stride[1],
        "max_length": given["frames"],
        "num_mel_bins": given["mel_bins"],
        "id2label": {str(number): f"LABEL_{number}" for number in classes},
        "label2id": {f"LABEL_{number}": number for number in classes},
    }
    state = net.state_dict()
    entries = list(hugging_face_entries(given["depth"], theirs=_ENCODER))
    known = {entry.ours for entry in entries}
    rest = {_renamed(key, 0): value for key, value in state.items() if key not in known}
    return config, split(state, entries) | rest


def _renamed(key: str, source: int) -> str:
    for names in _HEAD:
        if key.startswith(names[source]):
            return names[1 - source] + key.removeprefix(names[source])
    return key


LAYOUT = Layout(system="ast", read=_read, write=_write)
