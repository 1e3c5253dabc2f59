from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surform.data.fields_module import FieldsData
from surform.data.noise import InputNoise

CACHES = ("memory", "files")
fixtures = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)


def data_of(path: str, **options: object) -> FieldsData:
    arguments: dict = {"inputs": ["w"], "targets": ["w"], "split": {"train": 1.0}, "batch_size": 4}
    return FieldsData(path, **(arguments | options))


@fixtures
@given(st.data())
def test_windows_are_slices_of_the_file(
    flow_path: str, flow: xr.Dataset, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, 3), "time_stride")
    space = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2), "space_stride")
    frames = len(range(0, 12, stride))
    t_in = data.draw(st.integers(1, frames - 1), "input_steps")
    t_out = data.draw(st.integers(1, frames - t_in), "target_steps")
    cache = data.draw(st.sampled_from(CACHES), "cache")
    module = data_of(
        flow_path, inputs=["p", "mask", "w"], targets=["w"], auxiliary=["p"], parameters=["re"],
        input_steps=t_in, target_steps=t_out, time_stride=stride, space_stride=space, cache=cache,
    )  # fmt: skip
    windows = module.windows("train")
    starts = frames - t_in - t_out + 1
    assert len(windows) == 6 * starts
    chosen = data.draw(
        st.lists(st.integers(0, len(windows) - 1), min_size=1, max_size=5), "windows"
    )
    batch = windows[chosen]
    assert batch.index.tolist() == chosen
    for row, window in enumerate(chosen):
        sample, start = divmod(window, starts)
        cut = flow.isel(sample=sample, x=slice(None, None, space[0]), y=slice(None, None, space[1]))
        cut = cut.isel(time=slice(None, None, stride))
        before, after = slice(start, start + t_in), slice(start + t_in, start + t_in + t_out)
        for channel, name in enumerate(("p", "w")):
            np.testing.assert_array_equal(
                batch.inputs[row, ..., 2 * channel], cut[name].isel(time=before)
            )
        np.testing.assert_array_equal(
            batch.inputs[row, ..., 1], np.broadcast_to(cut["mask"], (t_in, *cut["mask"].shape))
        )
        assert (batch.inputs[row, ..., 3] == 10 * sample).all()
        np.testing.assert_array_equal(batch.targets[row, ..., 0], cut["w"].isel(time=after))
        np.testing.assert_array_equal(batch.auxiliary["p"][row], cut["p"].isel(time=after))


@pytest.mark.parametrize("cache", CACHES)
def test_steady_problems_have_one_window_per_sample(
    flow_path: str, flow: xr.Dataset, cache: str
) -> None:
    module = data_of(
        flow_path, inputs=["a"], targets=["b"], auxiliary=["mask"], parameters=["re"], cache=cache
    )
    batch = module.windows("train")[[5, 0]]
    assert batch.inputs.shape == (2, 8, 4, 2)
    np.testing.assert_array_equal(batch.inputs[..., 0], flow["a"].values[[5, 0]])
    np.testing.assert_array_equal(batch.targets[..., 0], flow["b"].values[[5, 0]])
    np.testing.assert_array_equal(batch.auxiliary["mask"][1], flow["mask"])
    np.testing.assert_allclose(batch.coordinates[1], np.linspace(0, 1, 4))


def test_overlapping_windows_of_a_sample_are_read_once(
    flow_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = data_of(flow_path, input_steps=4, target_steps=2, cache="files")
    windows = module.windows("train")
    reads = []
    original = windows.store.source.read  # type: ignore[attr-defined]
    monkeypatch.setattr(
        windows.store.source,
        "read",
        lambda *a: reads.append(a) or original(*a),  # type: ignore[attr-defined]
    )
    windows[[3, 1, 2, 0]]
    assert reads == [("w", 0, 0, 9)]


def test_float64_keeps_every_digit(tmp_path: Path) -> None:
    values = 1 + np.arange(6.0).reshape(2, 3) * 1e-12
    xr.Dataset({"u": (("sample", "x"), values)}).to_zarr(tmp_path / "f.zarr", consolidated=False)
    module = data_of(str(tmp_path / "f.zarr"), inputs=["u"], targets=["u"], dtype="float64")
    np.testing.assert_array_equal(module.windows("train")[[0, 1]].inputs[..., 0], values)


def test_paper_protocol_leaves_out_the_last_start_in_evaluation_only(flow_path: str) -> None:
    options: dict = {"input_steps": 4, "target_steps": 2, "split": {"train": 4, "test": 2}}
    clean, paper = (data_of(flow_path, protocol=p, **options) for p in ("clean", "paper"))
    assert len(clean.windows("test")) == 2 * 7
    assert len(paper.windows("test")) == 2 * 6
    assert len(paper.windows("train")) == len(clean.windows("train"))
    assert paper.windows("test").locate(6) == (5, 0)


def test_noise_is_that_of_normalised_inputs_and_the_same_every_time(flow_path: str) -> None:
    options: dict = {
        "inputs": ["a"], "targets": ["b"], "parameters": ["re"], "normalize_inputs": "pointwise"
    }  # fmt: skip
    clean, noisy = (data_of(flow_path, input_noise=n, seed=5, **options) for n in (0.0, 0.1))
    normalize = clean.normalizers()[0]
    expected = clean.windows("train")[[2, 3]].inputs
    found = noisy.windows("train")[[2, 3]].inputs
    draws = [
        np.random.default_rng([5, 0, s, 0]).standard_normal((8, 4, 1), np.float32) for s in (2, 3)
    ]
    difference = (normalize(found) - normalize(expected))[..., :1].numpy()
    np.testing.assert_allclose(difference, 0.1 * np.stack(draws), atol=1e-4)
    assert torch.equal(found[..., 1], expected[..., 1])  # parameters are exact
    assert torch.equal(noisy.windows("train")[[3]].inputs, found[1:])
    other = data_of(flow_path, input_noise=0.1, seed=6, **options).windows("train")[[2, 3]]
    assert not torch.equal(other.inputs, found)


def test_noise_differs_between_splits_and_samples() -> None:
    noise = InputNoise(1.0, torch.ones(1), seed=0, split=0)
    draws = [
        part.add(torch.zeros(1, 5, 1), np.array([sample]), np.array([0]))
        for part in (noise, replace(noise, split=1)) for sample in (0, 1)
    ]  # fmt: skip
    assert len({tuple(d.flatten().tolist()) for d in draws}) == 4


def test_windows_out_of_range_are_refused(flow_path: str) -> None:
    windows = data_of(flow_path, inputs=["a"], targets=["b"]).windows("train")
    with pytest.raises(IndexError, match="0 to 5, got 6"):
        windows[6]
