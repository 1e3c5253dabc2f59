"""A large pose network teaches a small one: by a learned token and by its heatmaps.

Xu et al., ViTPose (arXiv 2204.12484), section 3.4; there is no official code. First a token is
added to the tokens of the trained teacher, and it alone is trained on the data. Then it is added,
frozen, to the tokens of the student, which is trained on the data and on the teacher's heatmaps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from surform.training.prediction import Prediction
from surform.vision.vitpose import ViTPose

__all__ = ["Distillation", "with_knowledge", "with_token"]


def with_token(teacher: ViTPose) -> ViTPose:
    """A copy of a trained teacher with a fresh knowledge token, the only parameter that trains.

    Raises:
        ValueError: it has one already.
    """
    if teacher.backbone.knowledge is not None:
        raise ValueError("this network has a knowledge token already")
    dim = teacher.backbone.positions.shape[2]
    return _only(_widened(teacher, dim), trained=lambda name: name == "backbone.knowledge.token")


def with_knowledge(student: ViTPose, teacher: ViTPose) -> ViTPose:
    """A copy of a student with the teacher's learned token, frozen; all the rest trains.

    Where the widths differ a linear map, trained with the student, brings the token to its width:
    the paper does not say how.

    Raises:
        ValueError: the teacher has no token, or the student has one.
    """
    if teacher.backbone.knowledge is None:
        raise ValueError("the teacher has no knowledge token: make one by with_token, and train it")
    if student.backbone.knowledge is not None:
        raise ValueError("this network has a knowledge token already")
    token = teacher.backbone.knowledge.token.detach()
    made = _widened(student, token.shape[2])
    made.backbone.knowledge.token.data.copy_(token)  # type: ignore[union-attr]
    return _only(made, trained=lambda name: name != "backbone.knowledge.token")


class Distillation(nn.Module):
    """loss(student, target) + mean squared error between the student's and teacher's heatmaps.

    Args:
        loss: of the student on the data.
        teacher: a trained network, in evaluation mode and never trained here.
        weight: of the second term; 1 in the paper.
    """

    def __init__(self, loss: nn.Module, teacher: nn.Module, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight is {weight}, but must not be negative")
        self.loss, self.weight = loss, weight
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: not part of the student

    def forward(self, prediction: Prediction, batch: Any) -> Tensor:
        """The loss; `batch.images` are the normalised crops that the student saw."""
        found = self.loss(prediction, batch)
        if not self.training:
            return found
        teacher, images = self._teacher[0].to(batch.images.device), batch.images
        with torch.no_grad():
            heatmaps = teacher(images)
        if heatmaps.shape != prediction.output.shape:
            raise ValueError(
                f"the teacher gives heatmaps of shape {tuple(heatmaps.shape)}, the student "
                f"{tuple(prediction.output.shape)}: they must have joints and size in common"
            )
        return found + self.weight * (prediction.output - heatmaps).square().mean()


def _widened(net: ViTPose, knowledge_dim: int) -> ViTPose:
    """A copy with a place for a token."""
    arguments: dict[str, Any] = {**net.arguments, "knowledge_dim": knowledge_dim}
    made = ViTPose(**arguments).to(net.backbone.positions)
    made.load_state_dict(net.state_dict(), strict=False)
    return made


def _only(net: ViTPose, trained: Callable[[str], bool]) -> ViTPose:
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(trained(name))
    return net
