from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from surform.cli import main
from surform.cli.info import _COMMON
from surform.cli.source import read_source
from surform.registry import list_models, lookup

MODULE = '''
from typing import Literal

Kind = Literal["soft", "hard"]


class Base:
    def __init__(self, dim: int, *, kind: Kind = "soft", rate: float | None = None) -> None:
        pass


class Net(Base):
    """Maps nothing to nothing.

    Nobody, "Nothing" (2020).

    Args:
        dim: width; at least one.
        kind, rate: how hard,
            and how fast.
    """


class Wider(Net):
    """Maps more.

    Args:
        grid and level: of the mesh.
        kind: as for `Net`.
        scale: as for `Absent`.
        others: as in `Net`.
    """

    def __init__(self, dim: int, grid: int, level: int, kind: str, scale: int, odd: int) -> None:
        pass


def solve(samples, *, grid: int = 8) -> None:
    """Solves it."""
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "toypkg").mkdir()
    (tmp_path / "toypkg" / "__init__.py").write_text("from .net import Net\nraise RuntimeError\n")
    (tmp_path / "toypkg" / "net.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_source_is_read_but_not_run(package):
    source = read_source("toypkg.net:Net")
    assert source.summary == "Maps nothing to nothing."
    assert source.body == 'Nobody, "Nothing" (2020).'
    dim, kind, rate = source.arguments
    assert (dim.name, dim.annotation, dim.default, dim.doc) == (
        "dim",
        "int",
        None,
        "width; at least one.",
    )
    assert kind.annotation == "Literal['soft', 'hard']"
    assert kind.default == "'soft'"
    assert kind.doc == rate.doc == "how hard, and how fast."


def test_meanings_are_looked_up_in_the_class_that_is_named(package):
    docs = {a.name: a.doc for a in read_source("toypkg.net:Wider").arguments}
    assert docs == {
        "dim": "width; at least one.",
        "grid": "of the mesh.",
        "level": "of the mesh.",
        "kind": "how hard, and how fast.",
        "scale": "as for `Absent`.",
        "odd": "",  # Net has none
    }


def test_re_exports_are_followed(package):
    assert read_source("toypkg:Net").file.name == "net.py"


def test_functions_have_arguments_too(package):
    assert [a.name for a in read_source("toypkg.net:solve").arguments] == ["samples", "grid"]


@pytest.mark.parametrize("path", ["toypkg.absent:Net", "absent_package.net:Net", "toypkg.net:Nett"])
def test_missing_sources_are_named(package, path):
    with pytest.raises((FileNotFoundError, ValueError)):
        read_source(path)


def test_a_model(capsys):
    assert main(["info", "galerkin1d"]) == 0
    out = capsys.readouterr().out
    for text in ("arXiv 2105.14995", "modes", "'spectral'", "galerkin.py:"):
        assert text in out


def test_parameters_are_counted_with_build(capsys):
    import surform

    assert main(["info", "galerkin1d", "--build", '{"dim": 8, "heads": 2}']) == 0
    count = sum(p.numel() for p in surform.create_model("galerkin1d", dim=8, heads=2).parameters())
    assert f"{count:,} parameters" in capsys.readouterr().out


def test_a_solver_hides_what_generate_gives(capsys):
    assert main(["info", "burgers"]) == 0
    out = capsys.readouterr().out
    assert "viscosity" in out
    assert "samples " not in out
    assert main(["info", "heat"]) == 0
    out = capsys.readouterr().out
    assert "contrast" in out
    assert "rng" not in out


def test_a_data_file(tmp_path, capsys):
    data = xr.Dataset({"u": (("sample", "x"), np.zeros((2, 3)), {"units": "m s-1"})})
    data.to_netcdf(tmp_path / "flow.nc", engine="h5netcdf")
    assert main(["info", str(tmp_path / "flow.nc")]) == 0
    out = capsys.readouterr().out
    assert "2 sample" in out
    assert "m s-1" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["galerkin1e"], "did you mean galerkin1d"),
        (["gnott"], "did you mean gnot?"),  # a model and an official system
        (["burgers", "--build"], "--build is for models"),
        (["galerkin1d", "--build", "{"], "needs a JSON object"),
        (["galerkin1d", "--build", '{"dims": 3}'], "no argument 'dims' (did you mean dim?)"),
    ],
)
def test_mistakes_are_one_line(capsys, line, message):
    assert main(["info", *line]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_runs_and_checkpoints_are_described(tmp_path, capsys):
    from surform.operators.task import FieldTask
    from surform.training.checkpoints import Checkpoints
    from surform.training.run_folder import RunFolder
    from tests.training.toy import Smooth, ToyData, trainer

    callbacks = [RunFolder(tmp_path / "run", report=False), Checkpoints()]
    fit = trainer(tmp_path, max_epochs=1, callbacks=callbacks, enable_checkpointing=True)
    fit.fit(FieldTask(net=Smooth()), ToyData())
    assert main(["info", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "a run of surform fit" in out
    assert "validation/relative_l2/clean" in out
    assert main(["info", str(tmp_path / "run" / "checkpoints" / "last.ckpt")]) == 0
    out = capsys.readouterr().out
    assert "a checkpoint after 5 steps" in out
    assert "targets: v" in out


@pytest.mark.parametrize("name", list_models())
def test_every_argument_of_a_model_has_a_meaning(name):
    arguments = read_source(lookup("models", name)).arguments
    meanings = {a.name: a.doc or _COMMON.get(a.name, "") for a in arguments}
    elsewhere = ("as for `", "as in `", "likewise")
    assert [n for n, text in meanings.items() if not text or text.startswith(elsewhere)] == []


def test_a_shipped_model_says_how_to_make_its_data(capsys):
    assert main(["info", "factformer-kolmogorov"]) == 0
    out = capsys.readouterr().out
    assert "surform generate kolmogorov --out more.zarr --samples 8 --seed 1000003" in out


def test_annotations_of_keypoints(tmp_path, capsys):
    from tests.data.pose_files import document, write

    content = document()
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["keypoints"][:3] = [0, 0, 0]
    path = write(tmp_path, content)
    assert main(["info", str(path)]) == 0
    text = capsys.readouterr().out
    assert f"{path}: 5 persons in 6 images" in text
    assert "images of 96 x 128 pixels" in text
    assert "joints (coco): nose 80%, left_eye 100%" in text
    assert "left out: 1 crowds" in text


def test_structures_of_atoms(tmp_path, capsys):
    import numpy as np

    from tests.data.atom_files import frames, write_hdf5

    path = write_hdf5(tmp_path / "water.h5", fixed=np.array([1, 0, 0]))
    assert main(["info", str(path)]) == 0
    text = capsys.readouterr().out
    energy, forces = frames()["energy"], frames()["forces"]
    assert f"{path}: 40 structures of 3 atoms" in text
    assert "elements: H 67%, O 33%" in text
    assert f"energy [eV]: mean {energy.mean():.6g}, deviation {energy.std():.4g}" in text
    assert f"root mean square {np.sqrt((forces**2).mean()):.4g}" in text
    assert "periodic along no axis\nheld fixed: 33% of the atoms" in text
    other = write_hdf5(
        tmp_path / "b.h5",
        energy=None,
        E_dft=energy,
        positions=0.1 * frames()["positions"],
        atomic_numbers=np.ones(3, int),
    )
    assert main(["info", str(other)]) == 0
    text = capsys.readouterr().out
    assert "elements: H 100%\n" in text
    assert "also there: E_dft\n" in text
    assert "look: atoms of" in text
