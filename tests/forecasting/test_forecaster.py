"""A forecaster keeps units, picks targets, passes what its network asks for, and is saved whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import surform
from surform.data.normalizers import Normalizer
from surform.data.series_batch import SeriesBatch
from surform.forecasting.baselines import Naive
from surform.forecasting.forecaster import Forecaster
from tests.forecasting.toys import Balanced, Plain, about, statistics


def fitted(net: torch.nn.Module | None = None, **options: object) -> Forecaster:
    torch.manual_seed(0)
    model = Forecaster(net or Plain(6, 4))
    model.fit_to(about(**options), statistics())
    return model.eval()


def test_the_network_sees_standardised_values_and_physical_ones_come_out() -> None:
    model, history = fitted(), 10 + torch.randn(2, 6, 3)
    forecast = model(history)
    seen = model.net.seen["history"]
    torch.testing.assert_close(seen, (history - model.normalizer.mean) / model.normalizer.std)
    expected = model.net.map(seen.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(model.normalized(history), expected)
    expected = expected * model.normalizer.std + model.normalizer.mean
    torch.testing.assert_close(forecast, expected)


@pytest.mark.parametrize("targets", [("b",), ("a", "b"), ("c", "a")])
def test_targets_are_picked_in_their_order(targets: tuple[str, ...]) -> None:
    history = torch.randn(2, 6, 3)
    everything, some = fitted()(history), fitted(targets=targets)(history)
    columns = ["abc".index(name) for name in targets]
    torch.testing.assert_close(some, everything[..., columns])
    model = fitted(targets=targets)
    values = torch.randn(2, 4, len(targets))
    torch.testing.assert_close(model.denormalize_targets(model.normalize_targets(values)), values)


def test_a_network_may_give_the_targets_only() -> None:
    class Head(Plain):
        def forward(self, history: torch.Tensor, **covariates: torch.Tensor) -> torch.Tensor:
            return super().forward(history)[..., 1:2]

    history = torch.randn(2, 6, 3)
    one, other = fitted(Head(6, 4), targets=("b",)), fitted(targets=("b",))
    one.load_state_dict(other.state_dict())
    torch.testing.assert_close(one(history), other(history))
    with pytest.raises(ValueError, match="Head gives 1 variates: it must give the 3"):
        fitted(Head(6, 4), targets=("a", "b"))(history)


def test_only_declared_covariates_are_passed_and_they_are_standardised() -> None:
    model = Forecaster(Plain(6, 4))
    known, static = Normalizer(torch.ones(1), torch.full((1,), 2.0)), statistics(2)
    description = about(known=("price",), static=("size", "age"), marks=("hour",))
    model.fit_to(description, statistics(), known, static)
    batch = SeriesBatch(
        history=torch.randn(2, 6, 3),
        targets=torch.empty(2, 0, 3),
        past_marks=torch.rand(2, 6, 1),
        future_marks=torch.rand(2, 4, 1),
        known=torch.randn(2, 10, 1),
        static=torch.randn(2, 2),
    )
    model.outputs(batch)
    seen = model.net.seen
    assert set(seen) == {"history", "past_marks", "known", "static"}  # not future_marks
    assert seen["past_marks"] is batch.past_marks
    torch.testing.assert_close(seen["known"], (batch.known - 1) / 2)
    torch.testing.assert_close(seen["static"], static.normalize(batch.static))


@pytest.mark.fault
def test_covariates_that_a_network_ignores_are_refused() -> None:
    model = Forecaster(Naive(lookback=6, horizon=4))
    with pytest.raises(ValueError, match=r"Naive takes no `known` covariates \(price\)"):
        model.fit_to(about(known=("price",)), statistics(), statistics(1))


@pytest.mark.fault
def test_statistics_must_fit_the_columns() -> None:
    with pytest.raises(ValueError, match=r"normalizer have shape \(2,\), the data 3 columns"):
        Forecaster(Plain(6, 4)).fit_to(about(), statistics(2))


def test_a_penalty_belongs_to_training_only() -> None:
    model, history = fitted(Balanced(6, 4)), torch.randn(2, 6, 3)
    forecast, penalty = model.normalized_and_penalty(history)
    torch.testing.assert_close(forecast, model.normalized(history))
    assert penalty is not None
    assert penalty.item() == pytest.approx(model.net.map.weight.square().sum().item())
    assert fitted().normalized_and_penalty(history)[1] is None


def test_a_saved_forecaster_comes_back_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Forecaster(surform.create_model("dlinear", lookback=6, horizon=4, kernel_size=3))
    model.fit_to(about(targets=("b", "c")), statistics())
    model.metrics = {"validation/mse": 0.25}
    loaded = surform.load_model(model.save_pretrained(tmp_path / "m"))
    history = torch.randn(2, 6, 3)
    assert isinstance(loaded, Forecaster)
    assert torch.equal(loaded(history), model.eval()(history))
    assert loaded.description == model.description
    assert json.loads((tmp_path / "m" / "config.json").read_text())["kind"] == "series"


def test_the_card_tells_variates_units_windows_and_how_to_forecast(tmp_path: Path) -> None:
    model = Forecaster(surform.create_model("dlinear", lookback=6, horizon=4, kernel_size=3))
    model.fit_to(about(targets=("a",)), statistics())
    card = (model.save_pretrained(tmp_path / "m") / "README.md").read_text()
    for text in (
        "Forecasts the next 4 steps of 1h of a from the last 6 steps of 1h of 3 variates.",
        "| variate, target | a | kW |",
        "| variate | b | not given |",
        "Windows of 6 steps",
        "model.predict(frame)",
        "Trusted only for series like",
    ):
        assert text in card, text


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = fitted().to(dtype)
    assert model(torch.randn(2, 6, 3, dtype=dtype)).dtype == dtype
    model = fitted()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(2, 6, 3)).dtype == torch.float32
