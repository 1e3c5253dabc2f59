"""Quantiles from any forecaster: shapes, covariates, the loss, and what they are worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import surform
from surform.data.series_module import SeriesData
from surform.forecasting.forecaster import Forecaster
from surform.forecasting.quantiles import Quantiles
from surform.forecasting.task import ForecastTask
from surform.training.prediction import Prediction
from surform.training.quantile_loss import QuantileLoss
from surform.uncertainty import DeepEnsemble, conformal
from surform.uncertainty.scores import pinball
from tests.forecasting.tables import frame
from tests.forecasting.toys import about, statistics

LEVELS = (0.1, 0.5, 0.9)
BASES = {
    "dlinear": {},
    "itransformer": {"dim": 8, "depth": 1, "heads": 2},
    "informer": {"dim": 8, "heads": 2, "label_length": 4},
    "card": {"dim": 8, "depth": 1, "heads": 2},
    "pathformer": {"dim": 4},
    "samformer": {},
}


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


@pytest.mark.parametrize("base", list(BASES))
def test_every_forecaster_gives_sorted_quantiles(base: str) -> None:
    torch.manual_seed(0)
    sizes = {"variates": 3, "marks": 4, "known": 0, "static": 0}
    net = Quantiles(96, 5, base=base, options=BASES[base], levels=LEVELS, **sizes).eval()
    marks = {"past_marks": torch.rand(2, 96, 4) - 0.5, "future_marks": torch.rand(2, 5, 4) - 0.5}
    given = {name: value for name, value in marks.items() if name in net.covariates}
    found = net(torch.randn(2, 96, 3), **given)
    assert found.shape == (3, 2, 5, 3)
    assert (found.diff(dim=0) >= 0).all()


def test_the_quantiles_of_a_step_are_neighbours_and_see_its_covariates() -> None:
    torch.manual_seed(0)
    net = Quantiles(
        6, 4, base="itransformer", options=BASES["itransformer"], levels=LEVELS, known=2
    )
    seen = {}
    net.net.register_forward_hook(
        lambda m, a, given, out: seen.update(given, out=out), with_kwargs=True
    )
    known = torch.randn(2, 10, 2)
    found = net.eval()(torch.randn(2, 6, 3), known=known)
    assert seen["known"].shape == (2, 6 + 12, 2)
    torch.testing.assert_close(seen["known"][:, :6], known[:, :6])
    for step in range(4):
        for level in range(3):
            torch.testing.assert_close(seen["known"][:, 6 + 3 * step + level], known[:, 6 + step])
        values = seen["out"][:, 3 * step : 3 * step + 3]
        torch.testing.assert_close(found[:, :, step], values.sort(1).values.transpose(0, 1))


def test_the_loss_is_the_pinball_loss_and_its_minimum_the_quantile() -> None:
    torch.manual_seed(0)
    target = torch.randn(4000, 1, 1)
    quantiles = torch.zeros(3, 1, 1, 1, requires_grad=True)
    optimizer = torch.optim.Adam([quantiles], lr=0.05)
    for _ in range(300):
        whole = quantiles.expand(3, *target.shape)
        loss = QuantileLoss()(Prediction(whole[1], target, quantiles=whole, levels=LEVELS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expected = torch.quantile(target.flatten(), torch.tensor(LEVELS))
    torch.testing.assert_close(quantiles.detach().flatten(), expected, atol=0.03, rtol=0)
    torch.testing.assert_close(loss, 2 * pinball(whole, target, LEVELS).mean())
    median = Prediction(whole[1], target, quantiles=whole[1:2], levels=(0.5,))
    torch.testing.assert_close(QuantileLoss()(median), (whole[1] - target).abs().mean())


def forecaster() -> Forecaster:
    torch.manual_seed(0)
    net = surform.create_model(
        "quantiles",
        lookback=6,
        horizon=4,
        base="dlinear",
        options={"kernel_size": 3},
        levels=LEVELS,
    )
    model = Forecaster(net)
    model.fit_to(about(targets=("c", "a")), statistics())
    return model.eval()


def test_a_forecaster_gives_the_median_and_physical_quantiles(tmp_path: Path) -> None:
    from surform.data.series_batch import SeriesBatch

    model, history = forecaster(), 10 + torch.randn(2, 6, 3)
    batch = SeriesBatch(history, torch.empty(2, 0, 2))
    found = model.quantiles(batch)
    assert found.shape == (3, 2, 4, 2)
    torch.testing.assert_close(model.outputs(batch), found[1])
    standard = model.net(model.normalizer.normalize(history))[..., [2, 0]]
    std, mean = (x[[2, 0]] for x in (model.normalizer.std, model.normalizer.mean))
    torch.testing.assert_close(found, standard * std + mean)
    again = surform.load_model(model.save_pretrained(tmp_path / "m"))
    assert torch.equal(again.quantiles(batch), found)
    other = forecaster()
    with torch.no_grad():
        other.net.net.trend.bias += 1
    both = DeepEnsemble([model, other])
    torch.testing.assert_close(both.quantiles(batch), (found + other.quantiles(batch)) / 2)


def test_training_gives_quantiles_that_cover_and_a_table_with_them(tmp_path: Path) -> None:
    from tests.training.toy import trainer

    torch.manual_seed(0)
    table = frame(900)
    data = SeriesData(table, 24, 6, batch_size=64)
    net = Quantiles(24, 6, base="dlinear", options={"kernel_size": 5}, levels=LEVELS)
    task = ForecastTask(
        net, loss=QuantileLoss(), optimizer=lambda params: torch.optim.Adam(params, lr=1e-2)
    )
    run = trainer(tmp_path, max_epochs=12)
    run.fit(task, data)
    assert task.exported() is task.surrogate
    windows = data.windows("test")
    batch = windows[range(len(windows))]
    with torch.no_grad():
        found = task.surrogate.eval().quantiles(batch)
    inside = ((found[0] <= batch.targets) & (batch.targets <= found[2])).float().mean().item()
    assert 0.7 < inside < 0.92
    ahead = task.surrogate.predict(table)
    assert list(ahead.columns)[:5] == ["date", "a", "a_q0.1", "a_q0.5", "a_q0.9"]
    np.testing.assert_allclose(ahead["a"], ahead["a_q0.5"])


def test_the_networks_penalty_is_passed_on() -> None:
    torch.manual_seed(0)
    net = Quantiles(
        24, 2, base="pathformer", options=BASES["pathformer"], levels=LEVELS, variates=3
    )
    found, penalty = net.train().forecast_and_penalty(torch.randn(4, 24, 3))
    assert found.shape == (3, 4, 2, 3)
    assert penalty is not None
    plain = Quantiles(24, 2, base="dlinear", levels=LEVELS)
    assert plain.forecast_and_penalty(torch.randn(4, 24, 3))[1] is None


def test_the_usual_levels_are_those_of_conformal_intervals() -> None:
    assert Quantiles(6, 4, base="dlinear").levels == conformal.LEVELS


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": (0.1, 0.9)}, "levels must hold 0.5"),
        ({"levels": (0.9, 0.5, 0.1)}, "levels must increase"),
        ({"base": "itransformr"}, "unknown model 'itransformr': did you mean itransformer"),
        ({"options": {"dimm": 8}}, "itransformer takes no option 'dimm' here: did you mean dim"),
        ({"options": {"horizon": 8}}, "itransformer takes no option 'horizon' here"),
        ({"lookback": 0}, "lookback is 0"),
    ],
)
def test_wrong_arguments_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quantiles(**{"base": "itransformer", **options})


@pytest.mark.fault
def test_loss_and_network_go_together() -> None:
    from surform.forecasting.dlinear import DLinear

    with pytest.raises(ValueError, match="QuantileLoss and the network DLinear: the loss quantile"):
        ForecastTask(DLinear(lookback=6, horizon=4), loss=QuantileLoss())
    with pytest.raises(ValueError, match="MeanSquaredError and the network Quantiles"):
        ForecastTask(Quantiles(6, 4, base="dlinear"))
    with pytest.raises(ValueError, match="needs a network that gives quantiles"):
        QuantileLoss()(Prediction(torch.zeros(1), torch.zeros(1)))
