"""Classification in batches, which all domains share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from surform.sequences.classifier import SequenceClassifier


class Marks(nn.Module):
    """Logits of three classes by the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table(tokens[:, 0])


def test_batches_do_not_change_the_probabilities() -> None:
    model = SequenceClassifier(Marks()).train()
    tokens, done = torch.arange(5)[:, None], []
    parts = model.classify(lambda own: tokens[own], 5, 2, done.append)
    first = next(parts)
    assert not torch.is_inference_mode_enabled()  # what the caller computes meanwhile is its own
    found = np.concatenate([first, *parts])
    np.testing.assert_allclose(found, model.probabilities(tokens).detach(), rtol=1e-6)
    assert done == [0.4, 0.8, 1.0]
    assert model.training


@pytest.mark.fault
def test_what_cannot_be_classified_is_said() -> None:
    model = SequenceClassifier(Marks())
    for count, size, message in (
        (0, 2, "nothing to classify: 0 samples"),
        (5, 0, "batch_size must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            next(model.classify(lambda own: torch.zeros(len(own), 1), count, size, print))
    with pytest.raises(ValueError, match=r"does not know its classes.* or set its description"):
        model.described()
