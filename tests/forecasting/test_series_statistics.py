"""Series of any size in one table, each standardised by its own statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim import Adam

from surform.data.series_module import SeriesData
from surform.forecasting.dlinear import DLinear
from surform.forecasting.forecaster import Forecaster
from surform.forecasting.task import ForecastTask
from surform.hub import load_model
from surform.training.schedules import Constant
from surform.uncertainty import DeepEnsemble
from tests.forecasting.tables import frame
from tests.training.toy import trainer

LOOKBACK, HORIZON, FACTOR, SHIFT = 12, 4, 1000.0, 5e4


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


def shops(rows: int = 600) -> pd.DataFrame:
    """The same series twice, in other units and from another zero the second time."""
    small = frame(rows)[["date", "a"]].assign(shop="small")
    large = small.assign(a=FACTOR * small["a"] + SHIFT, shop="large")
    return pd.concat([small, large], ignore_index=True)


def trained(folder: Path, normalize: str) -> ForecastTask:
    torch.manual_seed(0)
    net = DLinear(lookback=LOOKBACK, horizon=HORIZON, kernel_size=5)
    task = ForecastTask(net, optimizer=lambda p: Adam(p, lr=1e-2), schedule=Constant())
    data = SeriesData(shops(), LOOKBACK, HORIZON, id="shop", normalize=normalize, dtype="float64")
    trainer(folder, max_epochs=3, precision="64-true").fit(task, data)
    return task


def test_small_and_large_series_are_forecast_alike(tmp_path: Path) -> None:
    task = trained(tmp_path / "run", "series")
    model = task.exported().double()
    model.save_pretrained(tmp_path / "model")
    # a third series, of yet another size, that training has not seen
    table = shops()
    new = table[table["shop"] == "small"].assign(shop="new")
    new["a"] = 1e-3 * new["a"] - 7
    model = load_model(tmp_path / "model").double()
    found = model.predict(pd.concat([table, new], ignore_index=True))
    by_shop = {name: rows.drop(columns=["shop", "date"]) for name, rows in found.groupby("shop")}
    small, large, late = (by_shop[name].to_numpy() for name in ("small", "large", "new"))
    assert small.shape[1] == 10  # the forecast and nine quantiles
    np.testing.assert_allclose(large, FACTOR * small + SHIFT, rtol=1e-6)
    np.testing.assert_allclose(late, 1e-3 * small - 7, rtol=1e-6)


def test_the_loss_sees_every_series_in_its_own_unit(tmp_path: Path) -> None:
    apart, together = (trained(tmp_path / kind, kind) for kind in ("series", "train"))
    windows = SeriesData(
        shops(), LOOKBACK, HORIZON, id="shop", normalize="series", dtype="float64"
    ).windows("test")
    batch = windows[range(len(windows))]
    small = torch.from_numpy(windows.series(batch.index)) == 0
    errors = []
    for task in (apart, together):
        model = task.surrogate.double().eval()
        kept = batch if task is apart else type(batch)(batch.history, batch.targets)
        with torch.no_grad():
            error = (model.outputs(kept) - batch.targets).square().mean((1, 2))
        errors.append(error[small].mean().item())
    assert errors[0] < 0.5 * errors[1]  # together the small one counts for a millionth


def test_statistics_are_those_of_the_training_rows() -> None:
    data = SeriesData(shops(), LOOKBACK, HORIZON, id="shop", normalize="series")
    batch = data.windows("test")[[0]]
    first, end = data.split_rows()[0]["train"]
    rows = shops()["a"].to_numpy()[first:end]
    assert batch.statistics is not None
    np.testing.assert_allclose(batch.statistics[0, :, 0], [rows.mean(), rows.std()], rtol=1e-5)
    assert data.normalizers()[0].std.tolist() == [1.0]


def test_statistics_are_asked_for_and_refused(tmp_path: Path) -> None:
    apart, together = (trained(tmp_path / kind, kind) for kind in ("series", "train"))
    history, statistics = torch.zeros(1, LOOKBACK, 1).double(), torch.ones(1, 2, 1).double()
    with pytest.raises(ValueError, match=r"each series by its own statistics: give `statistics`"):
        apart.surrogate.double()(history)
    with pytest.raises(ValueError, match="`statistics` are for models that standardise each"):
        together.surrogate.double()(history, statistics=statistics)


@pytest.mark.parametrize("before", [0, 2])  # rows before the test split
def test_a_series_that_begins_to_be_tested_is_known_by_its_first_look_back(before: int) -> None:
    table = shops(300)
    start = 200 - before
    late = table[table["shop"] == "large"].iloc[start:].assign(shop="late")
    split = {part: str(table["date"][row]) for part, row in
             (("train", 100), ("validation", 200), ("test", 299))}  # fmt: skip
    data = SeriesData(pd.concat([table, late], ignore_index=True), LOOKBACK, HORIZON, id="shop",
                      normalize="series", split=split)  # fmt: skip
    windows = data.windows("test")
    batch = windows[np.flatnonzero(windows.series(range(len(windows))) == 2)]
    known = late["a"].to_numpy()[:LOOKBACK]
    assert batch.statistics is not None
    np.testing.assert_allclose(batch.statistics[0, :, 0], [known.mean(), known.std()], rtol=1e-5)
    assert batch.scale is not None
    np.testing.assert_allclose(batch.scale[0, 0], np.abs(np.diff(known)).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        batch.history[0, :, 0], known, rtol=1e-6
    )  # nothing of it is forecast


def test_all_members_of_a_saved_ensemble_know_their_data(tmp_path: Path) -> None:
    table = shops().assign(b=1.0)
    data = SeriesData(table, LOOKBACK, HORIZON, id="shop", targets=["a"], normalize="series")
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        members.append(Forecaster(DLinear(lookback=LOOKBACK, horizon=HORIZON, kernel_size=5)))
        members[-1].fit_to(data.description(), *data.normalizers())
    DeepEnsemble(members).save_pretrained(tmp_path / "both")
    found = load_model(tmp_path / "both").predict(table)["a"]
    expected = sum(member.predict(table)["a"] for member in members) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)
