"""Every key of an official checkpoint accounted for: used, dropped with a reason, or wrong."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from torch import Tensor

from surform.hub.weights import some

__all__ = ["Accounting", "KeyMismatch", "account"]


class KeyMismatch(ValueError):  # noqa: N818
    """A checkpoint whose keys do not fit; carries the whole accounting."""

    def __init__(self, message: str, accounting: Accounting) -> None:
        super().__init__(message)
        self.accounting = accounting


@dataclass(frozen=True)
class Accounting:
    """What becomes of the keys.

    Args:
        used: official keys whose values are in our model.
        dropped: official key -> why it is left out.
        missing: official keys that our model needs and the checkpoint lacks.
        unknown: official keys that our model has no place for.
        misshapen: official key -> (shape in the checkpoint, shape needed).
    """

    used: tuple[str, ...]
    dropped: dict[str, str]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    @property
    def complete(self) -> bool:
        """Whether the model can be built from the checkpoint."""
        return not (self.missing or self.unknown or self.misshapen)

    def require_complete(self, where: str) -> None:
        """KeyMismatch, a ValueError that lists what does not fit."""
        if self.complete:
            return
        shapes = [f"{k} {a} instead of {b}" for k, (a, b) in self.misshapen.items()]
        problems = {
            "missing": list(self.missing),
            "unknown": list(self.unknown),
            "of another shape": shapes,
        }
        found = [f"{len(keys)} {what}: {some(keys)}" for what, keys in problems.items() if keys]
        raise KeyMismatch(
            f"{where} does not fit the model that its constructor arguments describe; "
            + "; ".join(found),
            self,
        )


def _counts(key: str) -> bool:
    """Batch norms saved by old versions of torch lack the count of their batches: 0 is taken."""
    return key.endswith(".num_batches_tracked")


def account(
    state: dict[str, Tensor], needed: dict[str, Tensor], dropped: dict[str, str]
) -> Accounting:
    """Compare a checkpoint with the official keys that our model stands for.

    Args:
        state: the official state dict.
        needed: our model's state dict under official keys.
        dropped: shell patterns of official keys that are left out -> reason; none that our model
            has a key of, or whole parts that it has would hide keys that nobody knows.
    """
    dropped = {p: why for p, why in dropped.items() if not fnmatch.filter(needed, p)}
    reasons = {
        key: reason
        for key in state
        if key not in needed
        for pattern, reason in dropped.items()
        if fnmatch.fnmatchcase(key, pattern)
    }
    common = [key for key in state if key in needed]
    misshapen = {
        key: (tuple(state[key].shape), tuple(needed[key].shape))
        for key in common
        if state[key].shape != needed[key].shape
    }
    return Accounting(
        used=tuple(key for key in common if key not in misshapen),
        dropped=reasons,
        missing=tuple(sorted(key for key in set(needed) - set(state) if not _counts(key))),
        unknown=tuple(sorted(set(state) - set(needed) - set(reasons))),
        misshapen=misshapen,
    )
