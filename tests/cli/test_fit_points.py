"""A new user's way: own meshes, a trained GNOT, predictions on the meshes; and what may fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surform.cli import main
from surform.data import PointsData
from surform.data.mesh_files import read_mesh
from surform.operators.point_surrogate import PointSurrogate
from surform.registry import create_model
from tests.data.point_files import mesh_folder, store

RECIPE = "operators/gnot-own-mesh"
SMALL = ("--model.net.dim", "8", "--model.net.depth", "1", "--trainer.max_epochs", "2")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)


def test_from_own_meshes_to_predictions_on_them(capsys: pytest.CaptureFixture[str]) -> None:
    mesh_folder(Path("meshes"), 8)
    assert main(["info", "meshes"]) == 0
    shown = capsys.readouterr().out
    assert "meshes: 8 samples in x, y, 16 to 24 points" in shown
    assert "input function inlet: 5 to 6 points" in shown
    fit = ["fit", "--config", RECIPE, "--data.path", "meshes", "--out", "runs/m", *SMALL]
    assert main(fit) == 0
    run = Path("runs/m")
    page = (run / "report.html").read_text()
    assert "velocity_x of meshes/case_6.vtu" in page
    figures = json.loads((run / "summary.json").read_text())["metrics"]
    assert set(figures) >= {
        f"validation/relative_l2{name}/clean" for name in ("", "_p", "_velocity_x", "_velocity_y")
    }
    for command in ("validate", "test"):
        assert main([command, "--ckpt_path", "best", "--out", "runs/m"]) == 0
        assert (run / f"{command}.json").is_file()
    assert "relative_l2_p" in capsys.readouterr().out
    assert main(["predict", "--ckpt_path", "runs/m", "--out", "predicted"]) == 0
    assert len(list(Path("predicted").glob("*.vtu"))) == 8
    saved = ["predict", "--ckpt_path", "runs/m/model", "--data.path", "meshes/case_1.vtu"]
    assert main([*saved, "--data.chunk", "7", "--out", "one.vtu"]) == 0
    one, given = read_mesh("one.vtu").mesh, read_mesh("meshes/case_1.vtu").mesh
    assert np.array_equal(one.points, given.points)
    assert np.array_equal(one.cells[0].data, given.cells[0].data)
    again = read_mesh("predicted/case_1.vtu").mesh
    np.testing.assert_allclose(one.point_data["p"], again.point_data["p"], rtol=1e-4)
    assert main(["info", "runs/m/model"]) == 0
    assert "Predicts p, velocity_x, velocity_y at the points of any mesh" in capsys.readouterr().out


def test_a_model_trained_on_a_store_reads_that_of_other_makers(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr")
    fit = ["fit", "--config", RECIPE, "--data.path", path, "--out", "runs/m", "--no_report", *SMALL]
    assert main([*fit, "--model.quadrature", "true", "--model.net.quadrature", "true"]) == 0
    predict = ["predict", "--ckpt_path", "runs/m", "--data.path", path, "--out", "p.zarr"]
    assert main(predict) == 0
    assert main(["info", "p.zarr"]) == 0


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data.targets", "[q]"), "case_0.vtu has no target 'q': it holds p"),
        (("--data.target", "[p]"), "data has no option 'target': did you mean targets"),
        (("--data.on", "faces"), "data.on is 'faces'"),
        (("--data.split", "{train: 9}"), "the splits overlap: train 9 = 9 samples"),
        (("--model.net.input_channels", "[2]"), "input_channels=[2], the data give [3]"),
        (("--model.metrics", "[vrmse]", "--model.monitor", "vrmse"), "metric 'vrmse' is for grids"),
        (("--data.path", "mesh"), "did you mean 'meshes'?"),
    ],
)
def test_a_bad_option_is_one_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    mesh_folder(Path("meshes"), 4)
    line = ["fit", "--config", RECIPE, "--data.path", "meshes", *SMALL, *words]
    one_line(main(line), capsys, message)


def save_untrained(path: str, **sizes: Any) -> None:
    data = PointsData(path)
    model = PointSurrogate(create_model("gnot", dim=4, depth=1, **sizes))
    model.fit_to(data.description(), *data.normalizers())
    model.save_pretrained("model")


def test_a_list_of_files_is_predicted() -> None:
    folder = mesh_folder(Path("my meshes [1]"), 4)
    save_untrained(folder, out_channels=3, parameters=1, input_channels=(3,))
    files = f"['{folder}/case_1.vtu', '{folder}/case_3.vtu']"
    assert main(["predict", "--ckpt_path", "model", "--data.path", files, "--out", "out"]) == 0
    found = sorted(path.name for path in Path("out").iterdir())
    assert found == ["case_1.vtu", "case_3.vtu", "surform.json"]


@pytest.mark.fault
def test_a_rollout_of_a_steady_mesh_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    path = store(Path("a.zarr"))
    save_untrained(path, out_channels=2, parameters=1, input_channels=(3, 2))
    line = ["rollout", "model", "--data", "a.zarr", "--steps", "2", "--out", "r.zarr"]
    one_line(main(line), capsys, "points")


def one_line(code: int, capsys: pytest.CaptureFixture[str], message: str) -> None:
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2, error
    assert message in error
    assert len(error) < 300
