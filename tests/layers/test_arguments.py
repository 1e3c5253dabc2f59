from __future__ import annotations

import pytest
from torch import nn

from surform.layers.arguments import record_arguments


class Base(nn.Module):
    @record_arguments
    def __init__(self, dim: int, *, heads: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)


class Wide(Base):
    @record_arguments
    def __init__(self, factor: int = 3) -> None:
        super().__init__(2 * factor)


def test_defaults_and_positions_are_recorded_by_name():
    assert Base(4).arguments == {"dim": 4, "heads": 2}
    assert Base(dim=4, heads=1).arguments == {"dim": 4, "heads": 1}


def test_a_subclass_keeps_its_own_arguments():
    assert Wide().arguments == {"factor": 3}


def test_arguments_are_no_part_of_the_state():
    assert set(Base(2).state_dict()) == {"linear.weight", "linear.bias"}


def test_wrong_arguments_fail_as_usual():
    with pytest.raises(TypeError, match="unexpected keyword argument 'head'"):
        Base(2, head=1)
