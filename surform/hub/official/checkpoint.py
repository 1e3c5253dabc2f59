"""Tensors out of an official checkpoint file, without ever running what a pickle asks for."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surform.data.faults import parsing
from surform.hub.official.tensor_bundle import index_of, read_bundle
from surform.hub.weights import read_tensors

__all__ = ["open_checkpoint", "read_checkpoint"]

# Where training scripts keep the state dict inside their checkpoint.
_HOLDERS = ("state_dict", "model_state_dict", "model", "net", "module", "params", "weights")
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a .pt, .pth, .ckpt or .safetensors file, or of TensorFlow's .index with
    the data files beside it, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it needs unpickling of objects, is damaged, or holds no state dict.
    """
    return open_checkpoint(path)[0]


def open_checkpoint(
    path: str | Path, unpack: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict, and the whole file that it is in ({} for bare ones); errors as above.

    Args:
        unpack: puts the weights that count where the state dict is, e.g. averaged ones.
    """
    path = Path(path)
    bundle = index_of(path)
    path = path if bundle is None else bundle
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if path.suffix == ".safetensors":
        return _without_prefix(read_tensors(path)), {}
    if bundle is not None:
        return read_bundle(path), {}
    file = _read(path)
    if unpack is not None and isinstance(file, dict):
        file = unpack(file)
    state = _find_state(file, path)
    whole = {} if state is file or not isinstance(file, dict) else file
    with parsing(path):  # tensors may lie on devices that have no numbers
        return _without_prefix(state), whole


def _read(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # on old pickle protocols, which are read all the same
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused: it is no plain state dict, and surform never unpickles objects "
            f"({_reason(error)}); where you trust the file, load it with its own code and save "
            "model.state_dict() again"
        ) from error
    except Exception as error:  # a damaged stream can fail in any way
        raise ValueError(f"{path} is damaged or no torch checkpoint: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The line of torch's long message that names the culprit."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (named or lines or [type(error).__name__])[0][:200].rstrip(".")


def _find_state(value: Any, path: Path) -> Mapping[str, Tensor]:
    for _ in range(3):
        if not isinstance(value, Mapping):
            break
        tensors = {
            key: item
            for key, item in value.items()
            if isinstance(item, Tensor) and isinstance(key, str)
        }
        others = [item for key, item in value.items() if key not in tensors]
        # Counters may stand beside the tensors of a state dict; they hold no weights.
        if tensors and all(isinstance(item, (int, float, str, type(None))) for item in others):
            return tensors
        holder = next((h for h in _HOLDERS if isinstance(value.get(h), Mapping)), None)
        if holder is None:
            break
        value = value[holder]
    keys = ", ".join(str(key) for key in list(value)[:6]) if isinstance(value, Mapping) else ""
    found = (
        f"its keys are {keys or 'empty'}" if isinstance(value, Mapping) else type(value).__name__
    )
    raise ValueError(f"{path} holds no state dict ({found}); looked under {', '.join(_HOLDERS)}")


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {name: tensor.clone() for name, tensor in state.items()}
    for prefix in _PREFIXES:
        if plain and all(name.startswith(prefix) for name in plain):
            plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}
    return plain
