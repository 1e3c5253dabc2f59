"""Training on a scene: figures, maps whatever the tile, saving, labels of the protocol."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch.optim import Adam

import surform
from surform.cli.fit_progress import quiet
from surform.data.scenes_module import ScenesData
from surform.hub.convert import from_official
from surform.hyperspectral.agreement import agreement
from surform.hyperspectral.classifier import SceneClassifier
from surform.hyperspectral.cnn3d import SpectralCNN
from surform.hyperspectral.mapping import predict, predict_file
from surform.hyperspectral.pyformer import PyFormer
from surform.hyperspectral.task import SceneTask
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.resume import ExactResume
from surform.training.run_folder import RunFolder
from tests.data.scene_files import WAVES, envi, labelled, scene
from tests.training.toy import trainer


def data(**options: Any) -> ScenesData:
    cube, labels = scene()
    given = {"window": 4, "components": 3, "block": 8, "batch_size": 16} | options
    return ScenesData(cube, labels, classes=["grass", "soil", "rock"], **given)


def task(net: torch.nn.Module | None = None, **options: Any) -> SceneTask:
    torch.manual_seed(0)
    net = net or PyFormer(4, 3, 3, filters=(2, 3), heads=1, depth=1, hidden=8, l2=1e-3)
    return SceneTask(net, optimizer=lambda params: Adam(params, lr=1e-2), **options)


def fit(place: Path, module: SceneTask, source: ScenesData, epochs: int) -> Any:
    quiet()
    parts = [Checkpoints(place / "checkpoints"), RunFolder(place, title="stripes")]
    run = trainer(place, max_epochs=epochs, callbacks=parts, enable_checkpointing=True)
    run.fit(module, source)
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[SceneTask, ScenesData, Path]:
    """A network that has learnt the stripes, and its run folder."""
    place, module, source = tmp_path_factory.mktemp("run"), task(), data()
    run = fit(place, module, source, epochs=8)
    run.test(module, source, verbose=False)
    return module, source, place


def test_figures_are_those_of_the_table() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    truth, found = generator.integers(0, 4, 200), generator.integers(0, 4, 200)
    truth[:120] = found[:120]
    truth[truth == 3] = 2  # a class that only claims
    table = torch.from_numpy(sklearn.confusion_matrix(truth, found)).double()
    recall = sklearn.recall_score(truth, found, labels=[0, 1, 2], average="macro")
    assert agreement(table, "oa").item() == pytest.approx(sklearn.accuracy_score(truth, found))
    assert agreement(table, "aa").item() == pytest.approx(recall)
    kappa = sklearn.cohen_kappa_score(truth, found)
    assert agreement(table, "kappa").item() == pytest.approx(kappa)
    assert agreement(torch.tensor([[5.0, 0.0], [0.0, 0.0]]), "kappa").item() == 0


def test_training_learns_and_figures_are_those_of_the_split(trained: Any) -> None:
    module, source, _ = trained
    samples = source.samples("test")
    batch = samples[range(len(samples))]
    with torch.no_grad():
        found = module.surrogate.eval()(batch.patches).argmax(1)
    table = np.array(module.profiles["test"]["confusion"])
    right = (found == batch.targets).double().mean().item()
    assert np.diag(table).sum() == pytest.approx(right, abs=1e-6)
    assert right > 0.9


def test_the_penalty_of_the_network_is_part_of_the_loss_in_training() -> None:
    module, source = task(), data()
    module.surrogate.fit_to(source.description(), *source.normalizers())
    batch = source.samples("train")[range(6)]
    assert module.train().predict_batch(batch).penalty == module.surrogate.net.penalty()
    assert module.eval().predict_batch(batch).penalty is None
    assert task(SpectralCNN(4, 3, 3, (2, 3))).train().surrogate.net.training


def test_a_map_does_not_depend_on_the_tile(trained: Any) -> None:
    module, source, _ = trained
    cube = scene()[0].copy()
    cube[5, 9, 2] = np.nan
    model: SceneClassifier = module.surrogate
    maps = [predict(model, cube, tile=tile, batch_size=32) for tile in (7, 13, 128)]
    for found in maps[1:]:
        assert np.array_equal(found["class"], maps[0]["class"])
        np.testing.assert_array_equal(found["probability"], maps[0]["probability"])
    assert maps[0]["class"].values[5, 9] == 0
    assert np.isnan(maps[0]["probability"].values[5, 9])
    assert (maps[0]["class"].values > 0).sum() == cube[..., 0].size - 1
    wanted = source.labels[tuple(source.pixels["test"].T)] + 1
    assert (maps[0]["class"].values[tuple(source.pixels["test"].T)] == wanted).mean() > 0.9


def test_maps_are_written_tile_by_tile(trained: Any, tmp_path: Path) -> None:
    model, cube = trained[0].surrogate, scene()[0]
    header = str(envi(tmp_path / "scene", cube))
    expected = predict(model, cube)
    predict_file(model, header, tmp_path / "map.nc", tile=11)
    with xr.open_dataset(tmp_path / "map.nc", mask_and_scale=False) as found:
        assert np.array_equal(found["class"], expected["class"])
        np.testing.assert_array_equal(found["probability"], expected["probability"])
        assert found["class"].attrs["flag_meanings"] == "grass soil rock"
    predict_file(model, header, tmp_path / "map.npy", tile=11)
    assert np.array_equal(np.load(tmp_path / "map.npy"), expected["class"])


def test_a_geotiff_keeps_its_place(trained: Any, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    model, cube = trained[0].surrogate, scene()[0]
    place = rasterio.Affine(30, 0, 5e5, 0, -30, 4e6)
    shape = dict(zip(("height", "width", "count"), cube.shape, strict=True))
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", dtype="float32", transform=place, **shape
    ) as file:
        file.write(np.moveaxis(cube, -1, 0))
    predict_file(model, str(tmp_path / "scene.tif"), tmp_path / "map.tif", tile=9)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.transform == place
        assert np.array_equal(file.read(1), predict(model, cube)["class"])


def test_a_saved_model_maps_as_before(trained: Any, tmp_path: Path) -> None:
    module, _, _ = trained
    module.surrogate.save_pretrained(tmp_path / "model")
    loaded = surform.load_model(tmp_path / "model")
    cube = scene()[0]
    found, expected = (m.predict(cube)["probability"] for m in (loaded, module.surrogate))
    np.testing.assert_array_equal(found, expected)
    patches = loaded.example_inputs()["patches"]
    assert loaded(patches).shape == (2, 3)


def test_a_resumed_run_ends_in_the_same_state(tmp_path: Path) -> None:
    def run(place: Path, epochs: int, resume: bool = False) -> dict[str, Any]:
        quiet()
        torch.manual_seed(0)
        net = PyFormer(5, 3, 3, filters=(2, 3), heads=1, depth=1, hidden=8)
        parts = [Checkpoints(place, every_n_steps=2), ExactResume()]
        once = trainer(place, max_epochs=epochs, callbacks=parts, enable_checkpointing=True)
        source = data(window=5, block=10, turns=True, batch_size=8)
        path = place / "last.ckpt" if resume else None
        once.fit(task(net, ema_decay=0.9), source, ckpt_path=path, weights_only=True)
        return read_checkpoint(place / "last.ckpt")

    whole = run(tmp_path / "whole", 3)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 3, resume=True)
    assert whole["global_step"] == parts["global_step"] >= 6
    for key in ("state_dict", "training_weights"):
        for name, value in whole[key].items():
            assert torch.equal(value, parts[key][name]), name


def test_report_and_card_say_what_was_measured(trained: Any, tmp_path: Path) -> None:
    _, _, place = trained
    page = (place / "report.html").read_text()
    for text in ("overall accuracy", "True class down", "no window of one split shares a"):
        assert text in page
    assert "optimistic" not in page
    assert "| validation/oa |" in (place / "model" / "README.md").read_text()
    options = {"division": "overlapping", "components_from": "scene"}
    source = data(split={"train": 0.2, "validation": 0.2}, **options)
    fit(tmp_path, task(), source, epochs=1)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "figures are optimistic: the windows of training and test pixels overlap" in card
    assert re.search(r"\| validation/oa \| [\d.]+ \| paper \|", card)
    assert "figures are optimistic" in (tmp_path / "report.html").read_text()


@pytest.mark.fault
def test_scenes_that_a_model_was_not_trained_for(trained: Any, tmp_path: Path) -> None:
    model, cube = trained[0].surrogate, scene()[0]
    with pytest.raises(ValueError, match="trained on scenes of 7 bands, the array has 6"):
        predict(model, cube[..., :6])
    with pytest.raises(
        ValueError, match=r"\(2, 6, 4, 4\), but the components are those of \(batch, 7"
    ):
        model(torch.zeros(2, 6, 4, 4))
    empty = cube.copy()
    empty[..., 4] = np.nan
    with pytest.raises(ValueError, match="a number in all 7 bands of the model: band 4 has none"):
        predict(model, empty, tile=16)
    with pytest.raises(ValueError, match="tile must be at least 1, got 0"):
        predict(model, cube, tile=0)
    path = labelled(tmp_path / "scene.nc", *scene())
    cube_nc = ScenesData(str(path), window=4, components=3, block=8)
    other = SceneClassifier(model.net)
    other.fit_to(cube_nc.description(), *cube_nc.normalizers())
    moved = "{" + ", ".join(str(wave + 200) for wave in WAVES) + "}"
    header = envi(tmp_path / "moved", cube, wavelength=moved)
    with pytest.raises(ValueError, match=r"band 0 at 400 nm, .* has it at 600 nm"):
        predict(other, str(header))


@pytest.mark.fault
def test_maps_that_cannot_be_written(trained: Any, tmp_path: Path) -> None:
    model = trained[0].surrogate
    np.save(tmp_path / "scene.npy", scene()[0])
    with pytest.raises(ValueError, match=r"maps are written to one of \.nc, \.npy, \.tif"):
        predict_file(model, str(tmp_path / "scene.npy"), tmp_path / "map.csv")
    with pytest.raises(ValueError, match="would replace the data it is made from"):
        predict_file(model, str(tmp_path / "scene.npy"), tmp_path / "scene.npy")
    bad = scene()[0]
    bad[20, 20, 3] = np.inf
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(ValueError, match="infinite number at row 20"):
        predict_file(model, str(tmp_path / "bad.npy"), tmp_path / "map.nc", tile=8)
    assert not list(tmp_path.glob("*map*"))


@pytest.mark.fault
def test_a_model_that_does_not_know_its_scene(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from surform.hub.official.fixture import Fixture

    case = Path(__file__).parents[1] / "golden" / "pyformer" / "ws4_k4.json"
    save_file(Fixture.load(case).named("param"), tmp_path / "weights.safetensors")
    model = from_official(tmp_path / "weights.safetensors", "pyformer").model
    with pytest.raises(ValueError, match="does not know its classes and components"):
        model.predict(scene()[0])


@pytest.mark.fault
def test_a_network_of_other_sizes_than_the_data(tmp_path: Path) -> None:
    net = PyFormer(4, 2, 3, filters=(2, 3), heads=1, depth=1, hidden=8)
    with pytest.raises(ValueError, match="in_channels"):
        trainer(tmp_path, max_epochs=1).fit(task(net), data())


@pytest.mark.fault
def test_metrics_that_are_not_for_maps() -> None:
    with pytest.raises(ValueError, match="unknown metric 'top1': choose from oa, aa, kappa"):
        task(metrics=("top1",), monitor="top1")
