"""SAMformer's TensorFlow version: its Keras arrays as the PyTorch version's state dict, one way.

The Keras network makes its values by two maps, L -> 16 -> L, the PyTorch one by a single L -> L:
the two are multiplied, which cannot be undone. Save the arrays under Keras's names, for example

    safetensors.numpy.save_file({v.name: v.numpy() for v in model.weights}, "tf.safetensors")

Names may have a path before them and ":0" behind; shapes for one head of width d:

    query/kernel, key/kernel, value/kernel  (L, 1, d)      their biases  (1, d)
    attention_output/kernel                 (1, d, L)      its bias      (L,)
    dense/kernel (any other layer's name)   (L, H)         its bias      (H,)
    affine_weight, affine_bias              (V,)
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["from_keras"]

State = dict[str, Tensor]

_HEADS = ("query", "key", "value", "attention_output")


def from_keras(state: State) -> State:
    """Keras's arrays as the PyTorch version's state dict; other state dicts unchanged.

    Raises:
        ValueError: an array is missing or unknown, or there is more than one head.
    """
    if not any(name.endswith(("/kernel", "/kernel:0")) for name in state):
        return state
    arrays = _by_name(state)
    needed = [f"{layer}/{part}" for layer in (*_HEADS, "dense") for part in ("kernel", "bias")]
    needed += ["affine_weight", "affine_bias"]
    wrong = sorted(set(needed) ^ set(arrays))
    if wrong:
        what = "lack" if wrong[0] in needed else "hold the unknown"
        raise ValueError(f"the Keras arrays of a SAMformer {what} {wrong[0]}")
    heads = arrays["query/kernel"].shape[1]
    if heads != 1:
        raise ValueError(f"the Keras network has {heads} heads, but must have one, as ours has")
    return _official(arrays)


def _by_name(state: State) -> State:
    """Arrays by layer and part; the forecasting layer, whatever its name, is "dense"."""
    found: State = {}
    for name, value in state.items():
        path = name.removesuffix(":0").split("/")
        layer = path[-2] if len(path) > 1 else ""
        if path[-1] in ("affine_weight", "affine_bias"):
            short = path[-1]
        else:
            short = f"{layer if layer in _HEADS else 'dense'}/{path[-1]}"
        if short in found:
            raise ValueError(f"the Keras arrays hold {short} twice, the second time as {name}")
        found[short] = value
    return found


def _official(arrays: State) -> State:
    out = arrays["attention_output/kernel"].squeeze(0)  # (d, L)
    value = arrays["value/kernel"].squeeze(1) @ out  # (L, L)
    shift = arrays["value/bias"].squeeze(0) @ out + arrays["attention_output/bias"]
    return {
        "revin.affine_weight": arrays["affine_weight"],
        "revin.affine_bias": arrays["affine_bias"],
        "compute_keys.weight": arrays["key/kernel"].squeeze(1).T,
        "compute_keys.bias": arrays["key/bias"].squeeze(0),
        "compute_queries.weight": arrays["query/kernel"].squeeze(1).T,
        "compute_queries.bias": arrays["query/bias"].squeeze(0),
        "compute_values.weight": value.T,
        "compute_values.bias": shift,
        "linear_forecaster.weight": arrays["dense/kernel"].T,
        "linear_forecaster.bias": arrays["dense/bias"],
    }
