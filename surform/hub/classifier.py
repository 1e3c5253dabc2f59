"""What classifiers of all domains share: logits of classes, and what labels stand for."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.hub.pretrained import Pretrained

__all__ = ["Classifier"]


class Classifier(Pretrained):
    """One tensor in, logits of the classes out: a domain gives `forward`, and `inputs` of a batch.

    The names of the classes stand in `description.classes`, in the order of the logits.
    """

    def inputs(self, batch: Any) -> Tensor:
        """What `forward` takes of a batch, as the data have it."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it takes of a batch")

    def probabilities(self, inputs: Tensor) -> Float[Tensor, "b k"]:
        """Of the classes, in float32 at least."""
        logits = self(inputs)
        return torch.softmax(logits, -1, dtype=torch.promote_types(logits.dtype, torch.float32))

    def outputs(self, batch: Any) -> Float[Tensor, "b k"]:
        """Probabilities of the classes for a batch."""
        return self.probabilities(self.inputs(batch))

    def targets(self, batch: Any, like: Tensor) -> Float[Tensor, "b k"]:
        """Probabilities that the batch's labels stand for, beside outputs `like`."""
        if batch.targets.ndim == 2:
            return batch.targets.to(like.dtype)
        return nn.functional.one_hot(batch.targets, like.shape[-1]).to(like.dtype)
