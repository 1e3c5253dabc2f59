"""Graphs of PyTorch Geometric in pickles, read without it and without running anything."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import torch

from surform.data.plain_pickle import NotPlainError, load_plain

__all__ = ["read_graph"]

# classes of PyTorch Geometric 1 and 2 whose objects are no more than what they hold
_KEPT = (
    ("torch_geometric.data.data", "Data"),
    ("torch_geometric.data.data", "DataEdgeAttr"),
    ("torch_geometric.data.data", "DataTensorAttr"),
    ("torch_geometric.data.storage", "GlobalStorage"),
    ("torch_geometric.data.storage", "BaseStorage"),
)


def read_graph(payload: bytes, name: str) -> Any:
    """What a pickle holds: the values of a `Data` object or a dict by name, or a plain value.

    Tensors come as arrays. Only plain values, tensors and such graphs are made; the first thing of
    another kind ends the reading, before it is imported.

    Args:
        name: where the pickle comes from, for messages.

    Raises:
        ValueError: it asks for something else; nothing of it was executed.
        OSError: it is truncated or no pickle.
    """
    found = load_plain(io.BytesIO(payload), name, _stand_ins())
    state = getattr(found, "state", found)
    if not isinstance(state, dict):
        return state
    store = state.get("_store")  # PyTorch Geometric 2 keeps values there, 1 in the object itself
    inner = getattr(store, "state", None)
    values = inner.get("_mapping", {}) if isinstance(inner, dict) else state
    return {str(key): value for key, value in values.items() if value is not None}


def _stand_ins() -> dict[tuple[str, str], Any]:
    """What a pickle is given for the names it asks for, made anew: it can change its own only."""

    class Kept:
        state: Any = None

        def __setstate__(self, state: Any) -> None:
            self.state = state

    return {
        **dict.fromkeys(_KEPT, Kept),
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch.storage", "_load_from_bytes"): _storage,
        ("collections", "OrderedDict"): _ordered,
    }


class _Storage:
    """The numbers of a tensor, in one row."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values


def _storage(payload: Any) -> _Storage:
    """How torch stores numbers within a pickle: as a file of its own."""
    if type(payload) is not bytes:
        raise NotPlainError("holds a tensor without its bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torch's old kind of storage
        found = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return _Storage(torch.tensor([], dtype=found.dtype).set_(found._untyped_storage))


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    if type(storage) is not _Storage:
        raise NotPlainError("holds a tensor without its numbers")
    return torch.as_strided(storage.values, tuple(size), tuple(stride), int(offset)).numpy().copy()


def _ordered(*_: Any) -> dict[str, Any]:
    """Hooks of a tensor, which are not kept."""
    return {}
