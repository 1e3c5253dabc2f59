"""A module is used in evaluation mode and is afterwards as it was, part by part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surform.layers.evaluating import evaluating


def test_each_part_is_afterwards_as_before() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    net[0].eval()  # frozen by the user
    with evaluating(net):
        assert not any(part.training for part in net.modules())
    assert [part.training for part in net.modules()] == [True, False, True]
    with pytest.raises(ValueError, match="expected 2D or 3D input"), evaluating(net):
        net(torch.zeros(1, 2, 2, 2))
    assert [part.training for part in net.modules()] == [True, False, True]
