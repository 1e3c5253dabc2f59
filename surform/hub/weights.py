"""Tensors from a safetensors file into a module, with every mismatch named."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from surform.data.normalizers import Normalizer

__all__ = ["load_state", "read_tensors", "some"]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file; ValueError when it is damaged, FileNotFoundError when it is absent."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} has no {path.name}: the model's weights are missing"
        )
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from error
    # Tensors mapped from a file may start at odd addresses, on which complex views crash.
    return {name: tensor.clone() for name, tensor in tensors.items()}


def load_state(module: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load strictly, in the stored precision; the shapes of statistics are those stored.

    Raises:
        ValueError: one sentence that lists missing, unknown, misshapen and non-finite tensors.
    """
    expected = module.state_dict()
    normalizers = {n: m for n, m in module.named_modules() if isinstance(m, Normalizer)}
    free = tuple(f"{name}." for name in normalizers)
    problems = {
        "missing": sorted(set(expected) - set(state)),
        "unknown": sorted(set(state) - set(expected)),
        "of another shape": [
            f"{n} {tuple(t.shape)} instead of {tuple(expected[n].shape)}"
            for n, t in state.items()
            if n in expected and t.shape != expected[n].shape and not n.startswith(free)
        ],
        "not finite": [
            n for n, t in state.items() if t.is_floating_point() and not torch.isfinite(t).all()
        ],
    }
    found = [f"{len(keys)} {what}: {some(keys)}" for what, keys in problems.items() if keys]
    if found:
        raise ValueError(f"the weights in {where} do not fit the model; {'; '.join(found)}")
    _take_precision(module, {n: t for n, t in state.items() if not n.startswith(free)})
    for name, normalizer in normalizers.items():
        normalizer.to(state[f"{name}.mean"].dtype)
    module.load_state_dict(state)


def _take_precision(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Buffers that are not stored follow the precision of the weights."""
    dtypes = {t.dtype for t in state.values() if t.is_floating_point()}
    if len(dtypes) == 1:
        module.to(dtypes.pop())


def some(keys: list[str], most: int = 6) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
