from __future__ import annotations

import threading
from pathlib import Path

import pytest
import xarray as xr

from surform.data.fields_module import FieldsData
from surform.data.provision import provide

BURGERS = {"solver": "burgers", "samples": 2, "points": 16, "modes": 16, "dt": 0.05}


def test_generated_data_are_used_and_other_options_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "burgers.zarr")
    for _ in range(2):
        data = FieldsData(path, ["u0"], ["u"], split={"train": 2}, generate=BURGERS)
        assert data.windows("train")[[0, 1]].inputs.shape == (2, 16, 1)
    assert data.description().source["solver"] == "burgers"
    with pytest.raises(FileExistsError, match=r"burgers.zarr exists with viscosity 0.1, .* 0.2"):
        provide(path, BURGERS | {"viscosity": 0.2})


def test_the_users_own_file_is_left_alone(flow_path: str, flow: xr.Dataset) -> None:
    before = sorted(Path(flow_path).rglob("*"))
    flow.drop_attrs(deep=False).to_zarr(flow_path, mode="w", consolidated=False)
    provide(flow_path, BURGERS)
    assert sorted(Path(flow_path).rglob("*")) == before


def test_later_ranks_wait_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    path = tmp_path / "burgers.zarr"
    waiting = threading.Thread(target=provide, args=(str(path), BURGERS))
    waiting.start()
    assert waiting.is_alive()
    path.mkdir()
    waiting.join(timeout=10)
    assert not waiting.is_alive()
    assert list(path.iterdir()) == []  # it made nothing itself
