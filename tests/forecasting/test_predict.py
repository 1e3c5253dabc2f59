"""Tables in, labelled forecasts out: the right times, names and forms; one sentence otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from surform.data.series_module import SeriesData
from surform.forecasting.dlinear import DLinear
from surform.forecasting.forecaster import Forecaster
from surform.forecasting.itransformer import ITransformer
from surform.uncertainty import Conformal
from tests.forecasting.tables import frame, panel, write

LOOKBACK, HORIZON = 24, 6


def trained(table: Any, net: torch.nn.Module | None = None, **options: Any) -> Forecaster:
    """A forecaster with the statistics of a table and weights that nobody trained."""
    torch.manual_seed(0)
    data = SeriesData(table, LOOKBACK, HORIZON, **options)
    model = Forecaster(net or DLinear(lookback=LOOKBACK, horizon=HORIZON, kernel_size=5))
    model.fit_to(data.description(), *data.normalizers())
    return model.eval()


def test_a_frame_gives_a_frame_with_the_times_that_follow() -> None:
    table = frame()
    model = trained(table)
    found = model.predict(table)
    assert list(found.columns) == ["date", "a", "b", "c"]
    expected = pd.date_range("2024-01-11", periods=HORIZON, freq="1h")
    assert found["date"].tolist() == expected.tolist()
    history = torch.tensor(table[["a", "b", "c"]].to_numpy()[-LOOKBACK:], dtype=torch.float32)
    values = model(history[None])[0]
    torch.testing.assert_close(torch.tensor(found[["a", "b", "c"]].to_numpy()), values)


def test_columns_are_found_by_name_and_others_are_left_out() -> None:
    table = frame()
    model = trained(table, variates=["a", "c"], targets=["c"])
    found = model.predict(table[["c", "b", "date", "a"]])
    assert list(found.columns) == ["date", "c"]
    pd.testing.assert_frame_equal(found, model.predict(table))


def test_an_index_of_times_comes_back_as_one() -> None:
    table = frame().set_index("date")
    model = trained(frame())
    found = model.predict(table)
    assert found.index.name == "date"
    assert found.index[0] == pd.Timestamp("2024-01-11")
    pd.testing.assert_frame_equal(found.reset_index(), model.predict(frame()), check_freq=False)
    unnamed = model.predict(table.rename_axis(None))
    assert unnamed.index.name is None
    assert unnamed.index.equals(found.index)


def test_several_series_of_different_ends_are_forecast_at_once() -> None:
    table = panel(north=240, south=200)
    model = trained(table, id="shop")
    found = model.predict(table)
    assert list(found.columns) == ["shop", "date", "a", "b", "c"]
    assert found["shop"].tolist() == ["north"] * HORIZON + ["south"] * HORIZON
    assert found["date"][0] == pd.Timestamp("2024-01-11")
    assert found["date"][HORIZON] == pd.Timestamp("2024-01-01") + pd.Timedelta(hours=200)
    alone = model.predict(table[table["shop"] == "south"])
    pd.testing.assert_frame_equal(alone, found[HORIZON:].reset_index(drop=True))
    pd.testing.assert_frame_equal(model.predict(table, batch_size=1), found)


def test_xarray_gives_xarray_with_units() -> None:
    table = frame().set_index("date")
    arrays = table.to_xarray()
    arrays["a"].attrs["units"] = "kW"
    model = trained(arrays)
    found = model.predict(arrays)
    assert isinstance(found, xr.Dataset)
    assert found["a"].dims == ("date",)
    assert found["a"].attrs["units"] == "kW"
    assert found["date"].values[0] == np.datetime64("2024-01-11")
    np.testing.assert_array_equal(found["a"], model.predict(frame())["a"])


def sites(rows: int = 240) -> xr.DataArray:
    """A field (site, time) with coordinates and attributes of all kinds, sites first."""
    table = frame(rows)
    return xr.DataArray(
        table[["a", "b", "c"]].to_numpy().T,
        dims=("site", "time"),
        coords={
            "time": ("time", table["date"].to_numpy(), {"long_name": "time of measurement"}),
            "site": ["north", "south", "west"],
            "height": ("site", [2.0, 10.0, 3.0], {"units": "m"}),
            "hour": ("time", table["date"].dt.hour),
            "run": 7,
        },
        attrs={"units": "kW", "long_name": "load"},
        name="load",
    )


def test_an_array_comes_back_over_its_own_dimensions() -> None:
    given = sites()
    model = trained(given)
    assert model.description.variates == ("north", "south", "west")
    found = model.predict(given)
    assert isinstance(found, xr.DataArray)
    assert (found.name, found.dims, found.attrs) == ("load", given.dims, given.attrs)
    assert found.sizes == {"site": 3, "time": HORIZON}
    assert set(found.coords) == {"time", "site", "height", "run"}  # hours to come are not known
    assert found["time"].values[0] == np.datetime64("2024-01-11")
    assert found["time"].attrs == given["time"].attrs
    xr.testing.assert_identical(found["height"].variable, given["height"].variable)
    expected = model.predict(given.to_series().unstack("site")[["north", "south", "west"]])
    np.testing.assert_array_equal(found.T, expected)
    xr.testing.assert_identical(model.predict(given.rename(None)), found.rename(None))


def test_some_sites_come_back_with_their_coordinates() -> None:
    given = sites()
    model = trained(given, targets=["west", "north"])
    found = model.predict(given)
    assert found["site"].values.tolist() == ["north", "west"]
    assert found["height"].values.tolist() == [2, 3]
    everything = trained(given).predict(given)
    xr.testing.assert_allclose(found, everything.sel(site=["north", "west"]))


def test_variables_and_samples_come_back_as_they_lie() -> None:
    rng = np.random.default_rng(0)
    time = pd.date_range("2024", periods=60, freq="1h")
    given = xr.Dataset(
        {
            "u": (("sample", "time", "y", "x"), rng.normal(size=(2, 60, 2, 3)), {"units": "m/s"}),
            "t": (("time", "sample"), rng.normal(size=(60, 2))),
        },
        {"time": time, "sample": [3, 8], "x": [0.0, 0.5, 1.0]},
        {"title": "flow"},
    )
    model = trained(given)
    found = model.predict(given)
    assert found.attrs == given.attrs
    assert found["u"].dims == given["u"].dims
    assert found["t"].dims == given["t"].dims
    assert found["sample"].values.tolist() == [3, 8]
    assert found["u"].attrs == {"units": "m/s"}
    history = torch.tensor(given["u"].values, dtype=torch.float32)[:, -LOOKBACK:].flatten(2)
    temperature = torch.tensor(given["t"].values, dtype=torch.float32).T[:, -LOOKBACK:, None]
    expected = model(torch.cat((history, temperature), 2)).detach()
    torch.testing.assert_close(torch.tensor(found["u"].values).flatten(2), expected[..., :6])
    torch.testing.assert_close(torch.tensor(found["t"].values), expected[..., 6].T)
    corner = trained(given, targets=["u_0", "u_4"]).predict(given)
    assert corner["u_0"].dims == ("sample", "time")  # no rectangle holds the two


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_files_of_arrays_give_files_of_their_form(suffix: str, tmp_path: Path) -> None:
    given = sites().transpose("time", "site").drop_vars(["hour", "run"])
    path, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    if suffix == ".nc":
        given.to_netcdf(path, engine="h5netcdf")
    else:
        names = given["site"].astype(object)  # fixed widths have no place in Zarr's third format
        given.to_dataset().assign_coords(site=names).to_zarr(path, consolidated=False)
    data = SeriesData(path, LOOKBACK, HORIZON, split={"train": 0.5, "validation": 0.5})
    model = Conformal(trained(path), levels=(0.1, 0.5, 0.9)).calibrate(data.val_dataloader())
    model.predict_file(str(path), out)
    opened = xr.open_dataset(out) if suffix == ".nc" else xr.open_zarr(out)
    with opened as found:
        assert found["load"].dims == ("time", "site")
        assert found["load_quantiles"].dims == ("time", "site", "quantile")
        assert found["load"].attrs["units"] == "kW"
        assert found["site"].values.tolist() == ["north", "south", "west"]
        assert found["time"].values[0] == np.datetime64("2024-01-11")
        assert found["time"].attrs["long_name"] == "time of measurement"
        assert found.attrs["made_by"] == "surform predict"
        expected = model.predict(given)
        np.testing.assert_allclose(found["load_quantiles"], expected["load_quantiles"], rtol=1e-6)


def test_days_of_a_local_clock_come_back_in_its_zone() -> None:
    times = pd.date_range("2024-02-01", periods=60, freq="D", tz="Europe/Berlin")
    table = frame(60).assign(date=times)
    found = trained(table, marks=True, net=None).predict(table)
    assert (
        found["date"].tolist()
        == pd.date_range("2024-04-01", periods=HORIZON, freq="D", tz="Europe/Berlin").tolist()
    )
    index = trained(table).predict(table.set_index("date")).index
    assert str(index.dtype) == "datetime64[us, Europe/Berlin]"
    autumn = table.assign(
        date=pd.date_range("2024-10-01", periods=60, freq="D", tz="Europe/Berlin")
    )
    assert trained(table).predict(autumn)["date"].iloc[-1].utcoffset() == pd.Timedelta("1h")
    fixed = frame(60).assign(date=pd.date_range("2024-02-01", periods=60, freq="D", tz="+09:00"))
    found = trained(fixed).predict(fixed)["date"]
    assert found.dtype == fixed["date"].dtype
    assert found[0] == fixed["date"].iloc[-1] + pd.Timedelta("1D")


def test_series_of_different_ends_share_the_number_of_the_step() -> None:
    from surform.forecasting.labelled import forecast

    table = panel(north=240, south=200)
    found = forecast(trained(table, id="shop"), table).dataset()
    assert found["a"].dims == ("shop", "step")
    assert found["date"].dims == ("shop", "step")
    same = panel(north=240, south=240)
    assert forecast(trained(same, id="shop"), same).dataset()["a"].dims == ("shop", "date")


def test_calendar_features_are_those_of_training() -> None:
    table, seen = frame(), {}

    class Marked(ITransformer):
        covariates = ("past_marks", "future_marks")

        def forward(self, history: torch.Tensor, **marks: torch.Tensor) -> torch.Tensor:
            seen.update(marks)
            return super().forward(history, past_marks=marks["past_marks"])

    net = Marked(LOOKBACK, HORIZON, dim=8, depth=1, heads=2)
    trained(table, net, marks="integer").predict(table)
    assert seen["past_marks"].shape == (1, LOOKBACK, 4)
    # month, day, weekday (Monday is 0), hour
    assert seen["future_marks"][0, 0].tolist() == [1, 11, 3, 0]


def test_known_covariates_reach_beyond_the_last_row() -> None:
    table = frame()
    net = ITransformer(LOOKBACK, HORIZON, dim=8, depth=1, heads=2, known=1)
    model = trained(table, net, known=["c"])
    later = frame(240 + HORIZON)
    later.loc[240:, ["a", "b"]] = np.nan
    found = model.predict(later)
    assert list(found.columns) == ["date", "a", "b"]
    assert found["date"][0] == pd.Timestamp("2024-01-11")
    with pytest.raises(ValueError, match=r"needs the known covariates \(c\) of 6: append rows"):
        model.predict(table)


def test_the_step_of_a_short_table_is_that_of_training() -> None:
    table = frame(60).assign(date=pd.bdate_range("2024-01-01", periods=60))  # from a Monday on
    for lookback in (5, 1):
        model = Forecaster(DLinear(lookback=lookback, horizon=3, kernel_size=1))
        data = SeriesData(table, lookback, 3)
        model.fit_to(data.description(), *data.normalizers())
        found = model.predict(table.iloc[50 : 50 + lookback])["date"].tolist()
        assert found == table["date"].iloc[50 + lookback : 53 + lookback].tolist()
        daily = table.assign(date=pd.date_range("2024-01-01", periods=60))
        with pytest.raises(ValueError, match="2024-01-06 00:00:00 does not lie on the step of B"):
            model.predict(daily)


def test_rows_without_times_are_counted() -> None:
    table = frame().drop(columns="date")
    model = trained(table, step="")
    found = model.predict(table)
    assert list(found.columns) == ["step", "a", "b", "c"]
    assert found["step"].tolist() == [1, 2, 3, 4, 5, 6]


def test_quantiles_stand_beside_the_forecast() -> None:
    table = frame()
    data = SeriesData(
        table, LOOKBACK, HORIZON, split={"train": 0.5, "validation": 0.4, "test": 0.1}
    )
    model = Conformal(trained(table), levels=(0.1, 0.5, 0.9)).calibrate(data.val_dataloader())
    found = model.predict(table, levels=[0.1, 0.9])
    assert list(found.columns)[:4] == ["date", "a", "a_q0.1", "a_q0.9"]
    assert (found["a_q0.1"] < found["a_q0.9"]).all()
    arrays = model.predict(table.set_index("date").to_xarray())
    assert arrays["a_quantiles"].dims == ("date", "quantile")
    assert arrays["quantile"].values.tolist() == [0.1, 0.5, 0.9]
    np.testing.assert_array_equal(arrays["a_quantiles"][:, 0], found["a_q0.1"])
    with pytest.raises(ValueError, match=r"no quantile 0\.2: it knows 0\.1, 0\.5, 0\.9"):
        model.predict(table, levels=[0.2])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".nc", ".zarr"])
def test_files_of_every_kind_are_written_whole(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", frame())
    model, out = trained(path), tmp_path / f"out{suffix}"
    for _ in range(2):  # an older forecast is replaced
        assert model.predict_file(path, out) == out
    expected = model.predict(path)
    if suffix in (".csv", ".parquet"):
        found = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
        np.testing.assert_array_equal(found["a"].astype("float32"), expected["a"])
        assert pd.to_datetime(found["date"]).tolist() == expected["date"].tolist()
    else:
        opened = xr.open_dataset(out) if suffix == ".nc" else xr.open_zarr(out)
        with opened as arrays:
            np.testing.assert_array_equal(arrays["a"], expected["a"])
            assert arrays.attrs["made_by"] == "surform predict"
    assert not list(tmp_path.glob("*partial*"))


@pytest.mark.fault
def test_nothing_is_overwritten_that_is_no_forecast(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", frame())
    model, before = trained(path), (tmp_path / "in.csv").read_bytes()
    with pytest.raises(ValueError, match="would replace the data it is made from"):
        model.predict_file(path, tmp_path / "in.csv")
    xr.Dataset({"u": ("x", [1.0])}).to_zarr(tmp_path / "mine.zarr", consolidated=False)
    with pytest.raises(FileExistsError, match="exists and is not a forecast"):
        model.predict_file(path, tmp_path / "mine.zarr")
    with pytest.raises(ValueError, match=r"written to one of \.csv, \.parquet, \.nc, \.zarr"):
        model.predict_file(path, tmp_path / "out.txt")
    assert (tmp_path / "in.csv").read_bytes() == before


@pytest.mark.fault
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame().drop(columns="b"), "the frame has no variate 'b'"),
        (
            frame().rename(columns={"a": "A"}),
            "has no variate 'a': it holds A, b, c, date",
        ),
        (frame(step="2h"), "trained with a time step of 1h, the frame has 2h"),
        (frame(20), "the frame has 20 rows, a forecast needs 24"),
        (frame().drop(columns="date"), "the frame has no column of times"),
        (frame().drop(index=235), "rows are missing between 2024-01-10 18:00:00"),
        (frame().assign(a=[1.0] * 239 + [np.nan]), "column 'a': a value is missing"),
    ],
)
def test_tables_that_do_not_suit_are_told_in_one_sentence(table: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        trained(frame()).predict(table)
    assert "\n" not in str(error.value)


@pytest.mark.fault
def test_other_units_are_refused() -> None:
    arrays = frame().set_index("date").to_xarray()
    arrays["a"].attrs["units"] = "kW"
    other = arrays.copy(deep=True)
    other["a"].attrs["units"] = "MW"
    with pytest.raises(ValueError, match="trained with a in 'kW', the dataset gives it in 'MW'"):
        trained(arrays).predict(other)


@pytest.mark.fault
def test_a_model_without_description_says_so() -> None:
    with pytest.raises(ValueError, match="no description of its series"):
        Forecaster(DLinear(lookback=4, horizon=2)).predict(frame())


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_names_of_series_and_zones_keep_their_type(library: str) -> None:
    table = panel(north=240, south=200)
    table["shop"] = [{"north": 7, "south": 3}[name] for name in table["shop"]]
    table["date"] = table["date"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    source: Any = table
    if library == "polars":
        polars = pytest.importorskip("polars")
        times = table["date"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        source = polars.DataFrame(
            {name: table[name].to_numpy() for name in ["shop", "a", "b", "c"]} | {"date": times}
        ).with_columns(
            polars.col("date").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
        )
    found = trained(source, id="shop").predict(source)
    assert found["shop"].to_list() == [7] * HORIZON + [3] * HORIZON
    assert found["shop"].dtype == source["shop"].dtype
    first = found["date"].to_list()[0]
    last = table.loc[table["shop"] == 7, "date"].iloc[-1]
    assert first == last + pd.Timedelta("1h")
    assert first.utcoffset() == last.utcoffset()


def test_an_index_with_a_zone_comes_back_with_it() -> None:
    table = frame().set_index("date").tz_localize("UTC").tz_convert("America/New_York")
    found = trained(table).predict(table)
    assert str(found.index.dtype) == "datetime64[us, America/New_York]"
    assert found.index[0] == table.index[-1] + pd.Timedelta("1h")
