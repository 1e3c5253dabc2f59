"""The example of dated series has the cycles, the weather and the dates that it claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from surform.data.series_module import SeriesData
from surform.data.solvers.generate import generate
from surform.data.solvers.loads import loads
from surform.data.solvers.samples import Samples


def series(rows: int = 8760, seed: int = 0) -> dict[str, np.ndarray]:
    found = loads(Samples(range(1), seed), rows=rows)
    return {name: field.values[0].numpy() for name, field in found.fields.items()}


def test_loads_are_lower_at_weekends_and_follow_the_hour() -> None:
    found = series()
    days = found["centre"][: 52 * 168].reshape(52, 7, 24)  # from a Sunday on
    assert days[:, [0, 6]].mean() < 0.9 * days[:, 1:6].mean()
    profile = days[:, 1:6].mean((0, 1))
    assert 7 <= profile.argmax() <= 20
    assert profile.argmin() < 6


def test_cold_hours_raise_the_load_some_hours_later() -> None:
    found = series()
    cold = found["temperature"][:1440] - found["temperature"][:1440].mean()  # January, February
    load = found["south"][:1440] - found["south"][:1440].mean()
    daily = cold.reshape(-1, 24).mean(1), load.reshape(-1, 24).mean(1)
    assert np.corrcoef(*daily)[0, 1] < -0.8


def test_a_sample_is_a_function_of_seed_and_number() -> None:
    together = loads(Samples(range(3), 5), rows=50).fields["north"].values
    alone = loads(Samples(range(2, 3), 5), rows=50).fields["north"].values
    assert torch.equal(together[2:], alone)
    assert not torch.equal(together[0], together[1])
    with pytest.raises(ValueError, match="rows is 0"):
        loads(Samples(range(1)), rows=0)


@pytest.mark.parametrize("name", ["loads.csv", "loads.parquet", "loads.zarr"])
def test_the_dates_survive_every_kind_of_file(name: str, tmp_path: Path) -> None:
    path = generate("loads", tmp_path / name, 1, rows=300)
    data = SeriesData(str(path), 24, 6)
    about = data.description()
    assert about.step == "1h"
    assert sorted(about.variates) == ["centre", "north", "south", "temperature"]
    assert data.table.times is not None
    assert data.table.times[0] == np.datetime64("2023-01-01T00:00")
