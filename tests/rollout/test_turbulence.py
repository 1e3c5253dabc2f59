"""Statistics of flows whose moments and spectra are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from surform.rollout.turbulence import FlowStatistics, bin_edges, line_spectrum
from surform.rollout.turbulence_files import flow_statistics, fold, wall_units

NX, NY, NZ = 12, 5, 10
AXES = {
    "x": np.arange(NX) * 3.0 / NX,
    "y": np.linspace(0, 2, NY),
    "z": np.arange(NZ) * 2.0 / NZ,
}
NAMES = ("u", "v", "w")


def frames(count=6, samples=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, samples, NX, NY, NZ, 3, generator=generator, dtype=torch.float64)
    values[..., 1] = 0.5 * values[..., 1] - 0.3 * values[..., 0]
    profile = torch.tensor(AXES["y"] * (2 - AXES["y"]))
    values[..., 0] += profile[:, None]
    return values


def seen(values, **options):
    statistics = FlowStatistics(NAMES, AXES, ("x", "z"), **options)
    for frame in values:
        statistics.update(frame)
    return statistics


def dataset(values):
    axes = {name: (name, v, {"periodic": int(name != "y")})
            for name, v in AXES.items()}  # fmt: skip
    dims = ("time", "sample", "x", "y", "z")
    fields = {n: (dims, values[..., i].numpy(), {"units": "m/s"}) for i, n in enumerate(NAMES)}
    return xr.Dataset(fields, coords=axes).transpose("sample", "time", ...)


def test_profiles_are_those_of_all_points_at_once():
    values = frames()
    found = seen(values).result()
    u, v = values[..., 0].numpy(), values[..., 1].numpy()
    over = (0, 1, 2, 4)
    np.testing.assert_allclose(found["u_mean"], u.mean(over), atol=1e-12)
    np.testing.assert_allclose(found["u_rms"], u.std(over), atol=1e-12)
    stress = (u * v).mean(over) - u.mean(over) * v.mean(over)
    np.testing.assert_allclose(found["u_v_stress"], -stress, atol=1e-12)
    assert found["u_mean"].dims == ("y",)
    assert float(found["frames"]) == 12


def test_samples_are_pooled_or_kept_apart():
    values = frames()
    apart = seen(values).result(("sample",))
    assert apart["u_mean"].dims == ("sample", "y")
    one = seen(values[:, 1:]).result()
    for name in ("u_mean", "v_rms", "u_v_stress", "w_spectrum_x"):
        np.testing.assert_allclose(apart[name][1], one[name], atol=1e-12)
    with pytest.raises(ValueError, match="2 names for 1 leading dims"):
        seen(values).result(("sample", "member"))


def test_spectrum_sums_to_the_variance_along_lines():
    for points in (9, 10):
        field = torch.randn(4, points, 3, dtype=torch.float64)
        k, density = line_spectrum(field, 2.5, 1)
        assert density.shape == (4, points // 2, 3)
        width = 2 * np.pi / 2.5
        variance = field.var(1, correction=0)
        torch.testing.assert_close(density.sum(1) * width, variance)
        torch.testing.assert_close(k, width * torch.arange(1, points // 2 + 1).double())


def test_a_wave_stands_at_its_wavenumber_and_height():
    values = torch.zeros(1, 1, NX, NY, NZ, 3, dtype=torch.float64)
    x = torch.tensor(AXES["x"])
    values[..., 1] = torch.cos(2 * np.pi / 3 * 2 * x)[:, None, None] * torch.arange(NY)[:, None]
    found = seen(values).result()
    spectrum = found["v_spectrum_x"].isel(y=3)
    k = 2 * np.pi / 3 * 2
    assert float(spectrum.sel(wavenumber_x=k, method="nearest")) == pytest.approx(
        9 / 2 / (2 * np.pi / 3)
    )
    assert float(spectrum.sum()) == pytest.approx(9 / 2 / (2 * np.pi / 3))
    assert float(abs(found["v_spectrum_z"]).max()) < 1e-20


def test_histograms_are_densities_and_keep_the_outliers():
    values = frames()
    edges = [torch.linspace(-1, 1, 5, dtype=torch.float64)] * 3
    found = seen(values, edges=edges).result()
    pdf = found["w_pdf"]
    np.testing.assert_allclose(pdf.sum("w_value") * 0.5, 1)
    w = values[..., 2].numpy()
    share = (w[:, :, :, 2] > 0.5).mean()
    assert float(pdf.isel(y=2, w_value=-1)) * 0.5 == pytest.approx(share)
    wide = bin_edges(values)
    assert len(wide[0]) == 65
    assert float(wide[0][0]) < float(values[..., 0].min())


def test_frames_that_are_not_finite_count_for_nothing():
    values = frames()
    broken = values.clone()
    broken[3:, 1, 2, 1, 2, 0] = torch.nan
    edges = bin_edges(values)
    found = seen(broken, edges=edges).result(("sample",))
    expected = seen(values[:3], edges=edges).result(("sample",)).isel(sample=1)
    xr.testing.assert_allclose(found.isel(sample=1).drop_vars("frames"),
                               expected.drop_vars("frames"))  # fmt: skip
    assert found["frames"].values.tolist() == [6, 3]


def test_isotropic_flow_has_no_profile():
    statistics = FlowStatistics(NAMES, AXES, ("x", "y", "z"))
    values = frames()
    for frame in values:
        statistics.update(frame.float())
    found = statistics.result()
    assert found["u_mean"].dims == ()
    assert float(found["w_rms"]) == pytest.approx(values[..., 2].std(correction=0).item(), rel=1e-5)
    assert found["u_spectrum_y"].dims == ("wavenumber_y",)


def test_whole_data_sets_are_read_in_blocks(monkeypatch):
    values = frames()
    data = dataset(values)
    whole = flow_statistics(data)
    monkeypatch.setattr("surform.rollout.turbulence_files._BLOCK_BYTES", data.nbytes // 3)
    edges = bin_edges(values)
    blocks = flow_statistics(data, edges=edges)
    np.testing.assert_allclose(blocks["u_rms"], whole["u_rms"])
    xr.testing.assert_allclose(blocks, _with_units(seen(values, edges=edges).result(), blocks))
    assert whole["u_mean"].attrs["units"] == "m/s"
    assert whole["u_v_stress"].attrs["units"] == "m/s m/s"
    assert flow_statistics(data, pool=False)["u_mean"].dims == ("sample", "y")
    assert "u_pdf" not in flow_statistics(data, bins=None)


def test_data_from_files_are_read_only():
    data = dataset(frames())
    for variable in data.data_vars.values():
        variable.values.setflags(write=False)  # as broadcast arrays are; torch would warn
    assert flow_statistics(data)["frames"] > 0


def _with_units(one, other):
    return other.copy(data={name: one[name].values for name in other})


def test_halves_of_a_channel_mirror_each_other():
    values = frames(2)
    mirrored = values.flip(3)
    mirrored[..., 1] *= -1
    both = dataset(torch.cat([values, mirrored]))
    alone, symmetric = fold(flow_statistics(dataset(values))), flow_statistics(both)
    assert alone.sizes["y"] == 3
    # means of both flows together are symmetric already
    for name in ("u_mean", "v_mean", "w_mean"):
        np.testing.assert_allclose(alone[name], symmetric[name][:3], atol=1e-12)
    for name in ("u_v_stress", "v_w_stress", "u_w_stress", "u_rms", "u_spectrum_z"):
        np.testing.assert_allclose(fold(symmetric)[name], symmetric[name][:3], atol=1e-12)


def test_wall_units():
    found = flow_statistics(dataset(frames()))
    plus = wall_units(found, friction_velocity=0.05, viscosity=1e-3)
    np.testing.assert_allclose(plus["y_plus"], AXES["y"] * 50)
    np.testing.assert_allclose(plus["u_rms"], found["u_rms"] / 0.05)
    np.testing.assert_allclose(plus["u_v_stress"], found["u_v_stress"] / 0.05**2)


def test_what_does_not_fit_is_one_sentence():
    with pytest.raises(ValueError, match="homogeneous is q: choose axes of x, y, z"):
        FlowStatistics(NAMES, AXES, ("q",))
    with pytest.raises(ValueError, match="1 bin edges for 3 variables"):
        FlowStatistics(NAMES, AXES, ("x",), edges=[torch.zeros(3)])
    statistics = FlowStatistics(NAMES, AXES, ("x", "z"))
    with pytest.raises(ValueError, match=r"shape \(2, 12, 5, 10, 2\), expected"):
        statistics.update(torch.zeros(2, NX, NY, NZ, 2))
    with pytest.raises(ValueError, match="no frame has been seen"):
        statistics.result()
    data = dataset(frames())
    with pytest.raises(ValueError, match="no variable is called 'p'"):
        flow_statistics(data, ("u", "p"))
    with pytest.raises(ValueError, match="no axis of x, y, z is marked periodic"):
        flow_statistics(data.assign_coords({a: data[a].values for a in "xyz"}))
