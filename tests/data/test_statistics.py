from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from surform.data import statistics
from surform.data.fields_module import FieldsData
from surform.data.selection import Selection
from surform.data.source import FieldSource
from surform.data.statistics import field_statistics, load_statistics, save_statistics


@pytest.fixture
def source(tmp_path: Path) -> tuple[FieldSource, np.ndarray]:
    rng = np.random.default_rng(0)
    # a large offset: sums of squares would lose every digit
    u = 1e6 + rng.standard_normal((5, 9, 6, 4)) * rng.random((6, 4))
    flow = xr.Dataset({"u": (("sample", "time", "x", "y"), u), "re": ("sample", np.arange(5.0))})
    flow["mask"] = (("x", "y"), np.ones((6, 4)))
    flow.to_zarr(tmp_path / "f.zarr", consolidated=False)
    selection = Selection(("u", "mask"), ("u",), ("re",), input_steps=2, target_steps=1)
    return FieldSource(str(tmp_path / "f.zarr"), selection), u[:3]


@pytest.mark.parametrize("block", [1, 2**20])
def test_streamed_statistics_equal_those_of_the_whole_array(
    source: tuple[FieldSource, np.ndarray], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_BLOCK_BYTES", block)
    reader, u = source
    found = field_statistics(reader, ["u"], ["re"], range(3), per_point=True)
    np.testing.assert_allclose(found["u"].mean, u.mean(), rtol=1e-12)
    np.testing.assert_allclose(found["u"].std, u.std(), rtol=1e-9)
    np.testing.assert_allclose(found["u"].temporal_std, u.std(axis=1).mean(), rtol=1e-9)
    np.testing.assert_allclose(found["u"].pointwise_mean, u.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(found["u"].pointwise_std, u.std(axis=(0, 1)), rtol=1e-9)
    assert (found["re"].mean, found["re"].temporal_std) == (1.0, None)
    plain = field_statistics(reader, ["u"], [], range(3))["u"]
    np.testing.assert_allclose([plain.mean, plain.std], [u.mean(), u.std()], rtol=1e-9)


def test_a_constant_field_has_deviation_zero(source: tuple[FieldSource, np.ndarray]) -> None:
    found = field_statistics(source[0], ["mask"], [], range(5), per_point=True)["mask"]
    assert (found.mean, found.std, found.temporal_std) == (1.0, 0.0, None)


def test_saved_statistics_are_the_same(
    source: tuple[FieldSource, np.ndarray], tmp_path: Path
) -> None:
    found = field_statistics(source[0], ["u"], ["re"], range(3), per_point=True)
    save_statistics(tmp_path / "s.safetensors", found)
    loaded = load_statistics(tmp_path / "s.safetensors")
    for name in found:
        for key, value in vars(found[name]).items():
            other = getattr(loaded[name], key)
            assert (value is None) == (other is None)
            if value is not None:
                np.testing.assert_array_equal(other, value)
    assert [p.name for p in tmp_path.glob("*.safetensors*")] == ["s.safetensors"]


@pytest.mark.parametrize("cache", ["memory", "files"])
def test_only_training_samples_are_counted(flow_path: str, flow: xr.Dataset, cache: str) -> None:
    data = FieldsData(
        flow_path, ["w"], ["w"], parameters=["re"], input_steps=2, target_steps=1,
        split={"train": 2, "test": 4}, cache=cache, time_stride=2, space_stride=[2, 1],
    )  # fmt: skip
    inputs, targets = data.normalizers()
    used = flow["w"].values[:2, ::2, ::2].astype(np.float64)
    np.testing.assert_allclose(targets.mean, [used.mean()], rtol=1e-6)
    np.testing.assert_allclose(inputs.std, [used.std(), 5.0], rtol=1e-6)


@pytest.mark.fault
def test_a_cache_that_cannot_be_written_or_read_costs_only_time(
    flow_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted() -> float:
        data = FieldsData(flow_path, ["a"], ["b"], split={"train": 6})
        return float(data.normalizers()[0].mean)

    first = fitted()
    (tmp_path / "file").touch()
    monkeypatch.setenv("SURFORM_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"\$SURFORM_CACHE does not keep the statistics: .*file"):
        assert fitted() == first
    monkeypatch.setenv("SURFORM_CACHE", str(tmp_path / "cache"))
    fitted()
    (kept,) = (tmp_path / "cache" / "statistics").iterdir()
    kept.write_bytes(kept.read_bytes()[:20])
    assert fitted() == first
    assert kept.stat().st_size > 20


def test_a_named_folder_keeps_statistics_until_the_data_change(
    flow_path: str, flow: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted() -> float:
        data = FieldsData(flow_path, ["a"], ["b"], split={"train": 6})
        return float(data.normalizers()[0].mean)

    before = sorted(p.name for p in tmp_path.iterdir())
    first = fitted()
    assert sorted(p.name for p in tmp_path.iterdir()) == before  # nothing without the variable
    monkeypatch.setenv("SURFORM_CACHE", str(tmp_path / "cache"))
    assert fitted() == first
    (kept,) = (tmp_path / "cache" / "statistics").iterdir()
    monkeypatch.setattr("surform.data.fields_module.field_statistics", None)
    assert fitted() == first  # read, not computed
    monkeypatch.undo()
    monkeypatch.setenv("SURFORM_CACHE", str(tmp_path / "cache"))
    changed = flow.copy(deep=True)
    changed["a"][3, 2, 2] = 1e6
    changed[["a"]].drop_vars(["x", "y"]).to_zarr(flow_path, mode="a", consolidated=False)
    assert fitted() != first
    assert kept.exists()


def test_kept_statistics_hold_the_variables_that_are_asked_for(
    flow_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SURFORM_CACHE", str(tmp_path / "cache"))

    def fitted(kind: str) -> float:
        data = FieldsData(flow_path, ["a"], ["b"], split={"train": 6}, normalize_targets=kind)
        return float(data.normalizers()[1].mean)

    assert fitted("none") == 0
    assert fitted("channel") != 0


def test_variables_may_share_one_mean_and_deviation(flow_path: str, flow: xr.Dataset) -> None:
    data = FieldsData(
        flow_path,
        ["w", "p"],
        ["p", "w"],
        input_steps=2,
        target_steps=2,
        split={"train": 6},
        normalize_together=[["w", "p"]],
    )
    both = np.stack([flow["w"].values, flow["p"].values]).astype(np.float64)
    for normalizer in data.normalizers():
        np.testing.assert_allclose(normalizer.mean, both.mean().repeat(2), rtol=1e-6)
        np.testing.assert_allclose(normalizer.std, both.std().repeat(2), rtol=1e-6)
    with pytest.raises(ValueError, match="normalize_together names 'v', which is neither"):
        FieldsData(flow_path, ["w"], ["w"], normalize_together=[["w", "v"]])
