"""A network on points in physical units: normalisation, padding, names, what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from surform.data import PointsData
from surform.data.points import collate
from surform.hub import load_model
from surform.operators.point_surrogate import PointSurrogate
from surform.uncertainty import Conformal, DeepEnsemble
from tests.data.point_files import sample, samples, store
from tests.operators.toy_points import PointToy


def trained(tmp_path: Path, name: str = "a.zarr", seed: int = 0, **options: Any) -> PointSurrogate:
    """A surrogate with the statistics of six samples and weights that nobody trained."""
    torch.manual_seed(seed)
    data = PointsData(store(tmp_path / name), split={"train": 6}, dtype="float64", **options)
    net = PointToy(2, 2, 1, (3, 2), quadrature=options.get("weights", True))
    model = PointSurrogate(net).double()
    model.fit_to(data.description(), *(n.double() for n in data.normalizers()))
    return model.eval()


def outputs(model: PointSurrogate, *numbers: int) -> list[np.ndarray]:
    batch = collate([sample(k).tensors(torch.float64) for k in numbers])
    with torch.no_grad():
        found = model.outputs(batch)
    assert not found[~batch.mask].any()
    return [found[k][batch.mask[k]].numpy() for k in range(len(numbers))]


def test_the_network_sees_normalised_numbers_and_physical_ones_come_out(tmp_path: Path) -> None:
    model = trained(tmp_path, normalize_inputs="channel")
    seen: dict[str, Any] = {}

    def net(points, parameters, inputs, **aside):
        seen.update(points=points, parameters=parameters, inputs=inputs, **aside)
        return torch.ones(*points.shape[:2], 2, dtype=points.dtype)

    model.net.forward = net  # type: ignore[method-assign]
    batch = collate([s.tensors(torch.float64) for s in samples()])
    found = model.outputs(batch)
    rows = np.concatenate([s.targets for s in samples()])
    expected = torch.from_numpy(rows.mean(0) + rows.std(0))
    torch.testing.assert_close(found[batch.mask], expected.expand(len(rows), 2))
    real = seen["points"][batch.mask]
    torch.testing.assert_close(real.mean(0), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(real.std(0, correction=0), torch.ones(2, dtype=torch.float64))
    assert not seen["points"][~batch.mask].any()
    inlet = seen["inputs"][0][batch.input_masks["inlet"]]
    torch.testing.assert_close(inlet.mean(0), torch.zeros(3, dtype=torch.float64))
    assert seen["mask"] is batch.mask
    assert [m.shape[1] for m in seen["input_masks"]] == [4, 4]
    assert seen["input_weights"][1] is None


@pytest.mark.fault
@pytest.mark.parametrize("shape", [(4,), (4, 2, 1), (99, 2)])
def test_an_output_of_another_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = trained(tmp_path)
    model.net.forward = lambda points, *_, **__: points.new_ones(  # type: ignore[method-assign]
        len(points), *shape
    )
    with pytest.raises(ValueError, match=r"PointToy gives \(2, .*must give \(samples, points"):
        outputs(model, 0, 3)


def test_batch_mates_do_not_change_a_prediction(tmp_path: Path) -> None:
    model = trained(tmp_path)
    (alone,) = outputs(model, 0)
    together, _ = outputs(model, 0, 3)
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_input_functions_are_told_apart_by_name(tmp_path: Path) -> None:
    model = trained(tmp_path)
    found = sample(1).tensors(torch.float64)
    turned = found.inputs["wall"], found.inputs["inlet"]
    found.inputs = dict(zip(("wall", "inlet"), turned, strict=True))
    batch = collate([found])
    np.testing.assert_array_equal(model.outputs(batch)[0].detach(), outputs(model, 1)[0])


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    model = trained(tmp_path)
    folder = model.save_pretrained(tmp_path / "model")
    net = PointToy(2, 2, 1, (3, 2), quadrature=True)
    again = load_model(folder, net=net).double()
    assert again.kind == "points"
    assert again.description == model.description
    found = model.predict(sample(2))
    np.testing.assert_allclose(again.predict(sample(2)), found, rtol=1e-6)
    card = (folder / "README.md").read_text()
    assert "Predicts u, p at the points of any mesh from re and the input functions" in card


def test_points_far_from_the_origin_are_told_apart(tmp_path: Path) -> None:
    """By a network of float32, too."""
    far = [sample(k, points=sample(k).points + [5e6, 0]) for k in range(6)]
    data = PointsData(store(tmp_path / "a.zarr", far), split={"train": 6}, dtype="float64")
    model = PointSurrogate(PointToy(2, 2, 1, (3, 2)))
    model.fit_to(data.description(), *data.normalizers())
    batch = next(iter(data.train_dataloader()))
    found = model.outputs(batch)
    assert found.dtype == torch.float32
    assert len(found[0][batch.mask[0]].unique(dim=0)) == batch.mask[0].sum()
    np.testing.assert_allclose(
        model.predict(far[int(batch.index[0])]), found[0][batch.mask[0]].detach(), rtol=1e-5
    )


def test_a_model_of_16_bits_predicts(tmp_path: Path) -> None:
    model = trained(tmp_path, weights=False)
    expected = model.predict(sample(1))
    found = model.to(torch.bfloat16).predict(sample(1))
    np.testing.assert_allclose(found, expected, atol=0.2)


def test_samples_and_lists_of_them(tmp_path: Path) -> None:
    model = trained(tmp_path)
    one = model.predict(sample(2))
    assert one.shape == (len(sample(2).points), 2)
    several = model.predict([sample(0), sample(2)], batch_size=2)
    np.testing.assert_allclose(several[1], one, rtol=1e-12)
    np.testing.assert_allclose(model.predict(sample(2), chunk=3), one, rtol=1e-12)


@pytest.mark.parametrize("name", ["a.zarr", "a.h5"])
def test_a_dataset_comes_back_with_targets_in_place(tmp_path: Path, name: str) -> None:
    model = trained(tmp_path, name)
    engine = "zarr" if name.endswith("zarr") else "h5netcdf"
    with xr.open_dataset(tmp_path / name, engine=engine, decode_times=False) as data:
        bare = data.drop_vars(["u", "p"])
        found = model.predict(bare)
        start = len(sample(0).points)
        part = found["u"].values[start : start + len(sample(1).points)]
        np.testing.assert_allclose(part, outputs(model, 1)[0][:, 0], rtol=1e-12)
        assert found["u"].attrs["units"] == "m s-1"
        assert found["x"].equals(data["x"])
        assert found.attrs == data.attrs


def test_one_mesh_for_all_samples_keeps_its_dims(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    data = xr.Dataset(
        {"u": (("sample", "point"), draw.random((4, 7))), "re": ("sample", draw.random(4))},
        coords={"x": ("point", draw.random(7)), "y": ("point", draw.random(7))},
    )
    data.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    module = PointsData(str(tmp_path / "a.zarr"), split={"train": 4})
    model = PointSurrogate(PointToy(2, 1, 1))
    model.fit_to(module.description(), *module.normalizers())
    assert model.predict(data)["u"].dims == ("sample", "point")


def test_the_spread_of_an_ensemble(tmp_path: Path) -> None:
    members = [trained(tmp_path, seed=k) for k in (0, 1)]
    together = DeepEnsemble(members).eval()
    found = together.predict(sample(1))
    each = [member.predict(sample(1)) for member in members]
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-12)


@pytest.mark.fault
def test_intervals_on_meshes_are_refused(tmp_path: Path) -> None:
    data = PointsData(store(tmp_path / "a.zarr"), dtype="float64")
    with pytest.raises(ValueError, match="intervals are not calibrated for meshes"):
        Conformal(trained(tmp_path), levels=(0.5,)).calibrate(data.val_dataloader())


@pytest.mark.fault
def test_other_input_functions_than_trained(tmp_path: Path) -> None:
    model = trained(tmp_path)
    found = sample(0)
    del found.inputs["wall"]
    with pytest.raises(ValueError, match="sample 0 has the input functions inlet, others have"):
        model.predict(found)
    batch = collate([found.tensors(torch.float64)])
    with pytest.raises(ValueError, match="the model takes the input functions inlet, wall, not i"):
        model.outputs(batch)


@pytest.mark.fault
def test_a_network_that_integrates_needs_weights(tmp_path: Path) -> None:
    model = trained(tmp_path)
    with pytest.raises(ValueError, match="trained with quadrature weights of points, these data"):
        model.predict(sample(0, weights=None))
    outputs(trained(tmp_path, weights=False), 0)  # a network that does not


@pytest.mark.fault
def test_statistics_and_data_that_do_not_fit(tmp_path: Path) -> None:
    model = trained(tmp_path)
    model.target_normalizer.mean = torch.zeros(3)
    with pytest.raises(ValueError, match=r"statistics of target_normalizer have shape \(3,\)"):
        model.check_statistics()
    bare = PointSurrogate(PointToy())
    with pytest.raises(ValueError, match="no description of its data"):
        bare.predict(sample(0))
    with pytest.raises(ValueError, match="no statistics"):
        bare.save_pretrained(tmp_path / "model")


@pytest.mark.fault
def test_what_predict_takes(tmp_path: Path) -> None:
    model = trained(tmp_path)
    with pytest.raises(ValueError, match=r"predict takes an xarray\.Dataset or PointSamples"):
        model.predict([1, 2])
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        model.predict(sample(0), chunk=0)
    with xr.open_zarr(store(tmp_path / "b.zarr")) as data:
        with pytest.raises(ValueError, match="the dataset has no parameter 're'"):
            model.predict(data.drop_vars("re"))
        data["u"].attrs["units"] = "mm s-1"
        with pytest.raises(ValueError, match="u in 'm s-1', the dataset gives it in 'mm s-1'"):
            model.predict(data)
