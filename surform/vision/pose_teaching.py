"""Training that a larger network takes part in: its heatmaps, and its knowledge token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.loading import load_model
from surform.vision.distillation import Distillation
from surform.vision.pose_estimator import PoseEstimator
from surform.vision.vitpose import ViTPose

__all__ = ["teach", "token_only"]


def token_only(net: nn.Module) -> None:
    """Freeze all of a network but its knowledge token: the first stage of distillation.

    It stays in evaluation mode, so that the statistics of its batch norms stay, too.

    Raises:
        ValueError: it has no token.
    """
    token = _token(net)
    if token is None:
        raise ValueError(
            "token_only trains the knowledge token, but the network has none: set "
            "model.net.knowledge_dim to its dim"
        )
    for parameter in net.eval().parameters():
        parameter.requires_grad_(parameter is token)


def teach(student: PoseEstimator, loss: nn.Module, source: str) -> Distillation:
    """The loss with the teacher's heatmaps in it; its token, frozen, goes to the student.

    Args:
        student: with the description and the colors of its training data.
        source: what `load_model` takes.

    Raises:
        ValueError: no vitpose, a teacher of other joints, crops, colors or another encoding, or a
            token on one side only.
    """
    model, net = load_model(source), student.net
    teacher = model.net
    if not isinstance(teacher, ViTPose) or not isinstance(net, ViTPose):
        other = teacher if isinstance(net, ViTPose) else net
        raise ValueError(
            f"teacher and student must be a vitpose each, but one is a {type(other).__name__}: "
            "take net.merged(dataset) of a vitpose_plus"
        )
    for name in ("joints", "image_size"):
        mine, theirs = (_plain(one.arguments[name]) for one in (net, teacher))
        if mine != theirs:
            raise ValueError(
                f"the teacher {source} has {name} {theirs}, the student {mine}: they must agree"
            )
    known, own = _token(teacher), _token(net)
    if known is not None:
        width = known.shape[2]
        if own is None or own.shape != known.shape:
            raise ValueError(
                f"the teacher {source} has a knowledge token of width {width}: set "
                f"model.net.knowledge_dim to {width}, so that the student has a place for it"
            )
    _require_same_view(model, student, source)
    if known is not None and own is not None:
        own.data.copy_(known.detach())
        own.requires_grad_(False)
    return Distillation(loss, teacher)


def _require_same_view(teacher: Any, student: PoseEstimator, source: str) -> None:
    """ValueError where the teacher was made for other crops, heatmaps or colors."""
    if teacher.description is not None and student.description is not None:
        teacher.description.require_match(student.description, f"the student of {source}")
    for name in ("mean", "std"):
        mine, theirs = (getattr(one.normalizer, name).flatten() for one in (student, teacher))
        if not torch.allclose(mine, theirs.to(mine)):
            raise ValueError(
                f"the teacher {source} knows colors of {name} {_rounded(theirs)}, the student's "
                f"have {_rounded(mine)}: set data.normalize to the teacher's"
            )


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def _token(net: nn.Module) -> nn.Parameter | None:
    knowledge = getattr(getattr(net, "backbone", None), "knowledge", None)
    return None if knowledge is None else knowledge.token


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
