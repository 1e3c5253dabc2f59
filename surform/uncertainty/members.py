"""The models inside a model."""

from __future__ import annotations

from surform.hub.pretrained import Pretrained
from surform.uncertainty.deep_ensemble import DeepEnsemble
from surform.uncertainty.wrapper import Wrapper

__all__ = ["members_of"]


def members_of(model: Pretrained) -> list[Pretrained]:
    """The members of a deep ensemble, whatever is wrapped around it; other models by themselves.

    A rollout takes members apart: fed back, their mean would lose what they disagree on.
    """
    if isinstance(model, DeepEnsemble):
        return list(model.members)  # type: ignore[arg-type]
    return members_of(model.wrapped) if isinstance(model, Wrapper) else [model]
