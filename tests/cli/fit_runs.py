"""A recipe that trains in a moment, and what its runs return."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["RECIPE", "Run", "refused"]

RECIPE = """
seed_everything: 3
model:
  class_path: fields
  init_args:
    net: {class_path: tests.training.toy.Smooth, init_args: {dim: 6}}
    optimizer: {class_path: Adam, init_args: {lr: 1e-2}}
data: {class_path: tests.training.toy.ToyData}
trainer: {max_epochs: 2, accelerator: cpu}
"""

Run = Callable[..., tuple[int, str, str]]


def refused(result: tuple[int, str, str], message: str) -> None:
    code, out, error = result
    assert code == 2, (out, error)
    assert error.count("\n") == 1, error
    assert message in error
