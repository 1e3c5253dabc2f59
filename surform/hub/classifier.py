"""What classifiers of all domains share: logits of classes, and what labels stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.hub.pretrained import Pretrained
from surform.layers.evaluating import evaluating

__all__ = ["Classifier"]


class Classifier(Pretrained):
    """One tensor in, logits of the classes out: a domain gives `forward`, and `inputs` of a batch.

    The names of the classes stand in `description.classes`, in the order of the logits.
    """

    learnt: ClassVar[str] = "its classes"  # what the description and the statistics say

    def described(self) -> Any:
        """The description.

        Raises:
            ValueError: there is none.
        """
        if self.description is None:
            way = (
                "give them with model.fit_to" if hasattr(self, "fit_to") else "set its description"
            )
            raise ValueError(
                f"the model does not know {self.learnt} (it was converted from an official "
                f"checkpoint): train it on, or {way}"
            )
        return self.description

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

    def classify(
        self,
        read: Callable[[list[int]], Tensor],
        count: int,
        batch_size: int,
        progress: Callable[[float], None],
    ) -> Iterator[np.ndarray]:
        """Probabilities, (b, k) in float32 at least, of one batch after the other.

        Args:
            read: what `forward` takes, of samples of these numbers.
            count: how many samples there are.
            progress: is told which share of the samples is done.

        Raises:
            ValueError: batches of no sample, or no sample at all.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if count < 1:
            raise ValueError("there is nothing to classify: 0 samples")
        device = next(self.parameters()).device
        with evaluating(self):
            for start in range(0, count, batch_size):
                numbers = list(range(start, min(start + batch_size, count)))
                inputs = read(numbers).to(device)
                with torch.inference_mode():  # not around `yield`: the caller would be in it
                    found = self.probabilities(inputs).cpu().numpy()
                yield found
                progress((numbers[-1] + 1) / count)
