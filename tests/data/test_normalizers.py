from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from surform.data.normalizers import Normalizer
from surform.data.statistics import VariableStatistics

POINT = np.array([[1.0, 2.0], [3.0, 4.0]])
U = VariableStatistics(2.0, 3.0, 0.5, POINT, POINT / 10)
MASK = VariableStatistics(7.0, 0.0, None, np.full((2, 2), 7.0), np.zeros((2, 2)))
RE = VariableStatistics(100.0, 10.0, None, np.asarray(100.0), np.asarray(10.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["none", "channel", "pointwise", "temporal"])
def test_denormalize_inverts_normalize(kind: str, dtype: torch.dtype) -> None:
    normalizer = Normalizer.from_statistics({"u": U, "re": RE}, kind, ["u", "re"]).to(dtype)
    x = torch.randn(3, 5, 2, 2, 2, dtype=dtype)
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(
        normalizer.denormalize(normalizer.normalize(x)), x, rtol=tolerance, atol=tolerance
    )


def test_channels_follow_the_variables_named() -> None:
    normalizer = Normalizer.from_statistics({"u": U, "re": RE}, "channel", ["re", "u"])
    values = normalizer(torch.tensor([[110.0, 5.0]]))
    assert values.tolist() == [[1.0, 1.0]]


def test_pointwise_statistics_add_the_published_eps() -> None:
    normalizer = Normalizer.from_statistics({"u": U}, "pointwise", ["u"]).double()
    x = torch.tensor(POINT + 1)[..., None]
    torch.testing.assert_close(
        normalizer(x)[..., 0], torch.tensor(1 / (POINT / 10 + 1e-5)), rtol=1e-6, atol=0
    )


def test_temporal_kind_divides_by_the_deviation_in_time() -> None:
    normalizer = Normalizer.from_statistics({"u": U, "re": RE}, "temporal", ["u", "re"])
    assert normalizer.std.tolist() == [0.5, 10.0]


@pytest.mark.parametrize("kind", ["channel", "pointwise"])
def test_a_constant_variable_becomes_zero(kind: str) -> None:
    normalizer = Normalizer.from_statistics({"mask": MASK}, kind, ["mask"])
    assert torch.equal(normalizer(torch.full((1, 2, 2, 1), 7.0)), torch.zeros(1, 2, 2, 1))
    assert normalizer(torch.full((1, 2, 2, 1), 8.0)).max() <= 1.0


def test_without_statistics_every_use_raises() -> None:
    for use in (Normalizer().normalize, Normalizer().denormalize):
        with pytest.raises(ValueError, match="no statistics"):
            use(torch.zeros(2))


def test_a_state_dict_carries_statistics_of_any_shape_into_an_unfitted_normalizer() -> None:
    fitted = Normalizer.from_statistics({"u": U}, "pointwise", ["u"])
    model = nn.Sequential(Normalizer())
    model.load_state_dict(nn.Sequential(fitted).state_dict())
    x = torch.randn(2, 2, 2, 1)
    assert torch.equal(model(x), fitted(x))


def test_a_state_dict_without_statistics_is_refused() -> None:
    with pytest.raises(RuntimeError, match="mean"):
        Normalizer().load_state_dict({})


def test_loading_an_unfitted_state_leaves_it_unfitted() -> None:
    normalizer = Normalizer(torch.zeros(3), torch.ones(3))
    normalizer.load_state_dict(Normalizer().state_dict())
    with pytest.raises(ValueError, match="no statistics"):
        normalizer(torch.zeros(3))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.0], [0.0], "divide by zero"),
        ([float("nan")], [1.0], "finite"),
        ([0.0, 1.0], [1.0], "differ in shape"),
        ([0.0], [-1.0], "not negative"),
    ],
)
def test_impossible_statistics_are_refused(mean: list, std: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normalizer(torch.tensor(mean), torch.tensor(std))


@pytest.mark.parametrize(
    ("kind", "names", "message"),
    [
        ("standard", ["u"], "unknown normalisation 'standard'"),
        ("channel", ["v"], "no statistics for v"),
        ("temporal", ["re"], "needs a time axis"),
    ],
)
def test_impossible_requests_are_refused(kind: str, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normalizer.from_statistics({"u": U, "re": RE}, kind, names)


def test_it_compiles_into_one_graph() -> None:
    normalizer = Normalizer(torch.ones(2), torch.full((2,), 2.0))
    program = torch.export.export(normalizer, (torch.zeros(3, 2),))
    assert torch.equal(program.module()(torch.full((3, 2), 3.0)), torch.ones(3, 2))
