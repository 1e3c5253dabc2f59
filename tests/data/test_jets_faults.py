"""Files of jets that cannot be used: one sentence each, with the file and the jet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from surform.data.jets_description import JetsDescription
from surform.data.jets_module import JetsData
from surform.data.jets_open import open_jets
from tests.data.jet_files import hls4ml, jetclass, take

pytestmark = pytest.mark.fault


def spoiled(path: Path, jet: int, value: float, column: int = 8, whole: bool = False) -> Path:
    particles = take(hls4ml(path), "jetConstituentList")
    path.unlink()
    if whole:
        particles[jet] = value
    else:
        particles[jet, 0, column] = value
    return hls4ml(path, jetConstituentList=particles)


def test_a_jet_of_padding_alone(tmp_path: Path) -> None:
    path = spoiled(tmp_path / "a.h5", 7, 0.0, whole=True)
    with pytest.raises(ValueError, match=r"jet 7 of .*a\.h5 has no particles: all of it is padd"):
        JetsData(str(path), split={"train": 1.0}).normalizers()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    path = spoiled(tmp_path / "a.h5", 3, value)
    message = rf"jet 3 of .*a\.h5 has {value} for the etarel of particle 0: numbers are due"
    with pytest.raises(ValueError, match=message):
        JetsData(str(path), split={"train": 1.0}).normalizers()


def test_numbers_beyond_float32(tmp_path: Path) -> None:
    path = spoiled(tmp_path / "a.h5", 3, -1e39)
    message = r"jet 3 of .*a\.h5 has -1e\+39 for the etarel of particle 0: numbers of at most 3.4e"
    with pytest.raises(ValueError, match=message):
        JetsData(str(path), split={"train": 1.0}).normalizers()


def test_a_negative_momentum(tmp_path: Path) -> None:
    path = spoiled(tmp_path / "a.h5", 4, -1.0, column=5)
    with pytest.raises(ValueError, match=r"jet 4 of .*a\.h5 has a particle of negative pT"):
        open_jets(str(path)).read(np.arange(9))


def test_labels_that_are_none(tmp_path: Path) -> None:
    jets = take(hls4ml(tmp_path / "a.h5"), "jets")
    none, several = jets.copy(), jets.copy()
    none[5] = 0
    several[6, 1:4] = 1
    with pytest.raises(ValueError, match=r"jet 5 of .* has no class: it must have one of gluon"):
        open_jets(str(hls4ml(tmp_path / "b.h5", jets=none)))
    with pytest.raises(ValueError, match=r"jet 6 of .* has several classes \(gluon, quark, W\)"):
        open_jets(str(hls4ml(tmp_path / "c.h5", jets=several)))
    with pytest.raises(ValueError, match="does not say the classes of its jets: jetFeatureNames"):
        open_jets(str(hls4ml(tmp_path / "d.h5", jetFeatureNames=None)))
    with pytest.raises(ValueError, match="has 19 rows and 7 columns, but there are 20 jets and 7"):
        open_jets(str(hls4ml(tmp_path / "e.h5", jets=jets[1:])))
    with pytest.raises(ValueError, match="does not say the classes of its jets: no label_Wqq"):
        open_jets(str(jetclass(tmp_path / "f.h5", label_Wqq=None)))
    with pytest.raises(ValueError, match="does not say the classes of its jets: it has no jets"):
        open_jets(str(hls4ml(tmp_path / "g.h5", jets=None)))
    with pytest.raises(ValueError, match=r"jet 0 of .*h\.h5 has a label that is no number"):
        open_jets(str(hls4ml(tmp_path / "h.h5", jets=jets * np.nan)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "jetConstituentList",
            np.full((20, 6, 16), b"x"),
            r"is \|S1 of shape \(20, 6, 16\): expect",
        ),
        (
            "jets",
            np.ones(20),
            r"jets of .* is float64 of shape \(20,\): expected numbers, \(jets, f",
        ),
        ("jets", np.ones((20, 3)), "has 20 rows and 3 columns, but there are 20 jets and 7 names"),
        ("part_px", np.ones(20), r"part_px of .*: expected numbers, \(jets, particles\)"),
        (
            "part_energy",
            np.ones((5, 5)),
            r"part_energy .* shape \(5, 5\), part_px asks for \(20, 5\)",
        ),
        ("part_deta", np.ones((20, 3)), r"part_deta .* shape \(20, 3\), part_px asks for"),
        ("label_QCD", np.ones(5), r"label_QCD of .* has shape \(5,\), part_px asks for \(20,\)"),
        ("jet_pt", np.zeros(20), "jet 0 of .* has inf for the logptrel of particle 0"),
    ],
)
def test_arrays_of_other_shapes_or_kinds(
    tmp_path: Path, name: str, value: np.ndarray, message: str
) -> None:
    make = hls4ml if name.startswith("jet") and name != "jet_pt" else jetclass
    path = make(tmp_path / "a.h5", **{name: value})
    with pytest.raises(ValueError, match=message) as error:
        open_jets(str(path)).read(np.arange(9))
    assert "\n" not in str(error.value)


def test_a_group_where_an_array_is_due(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("jetConstituentList/particles")
    with pytest.raises(ValueError, match=r"jetConstituentList of .* is no array: expected numbers"):
        open_jets(str(tmp_path / "a.h5"))


def test_a_label_of_another_map(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        sample, particle = file.create_dataset("sample", data=np.arange(3)), None
        particle = file.create_dataset("particle", data=np.arange(2))
        for scale, name in ((sample, "sample"), (particle, "particle")):
            scale.make_scale(name)
        for name in ("pt", "eta_rel", "phi_rel"):
            file[name] = np.ones((3, 2))
            file[name].dims[0].attach_scale(sample)
            file[name].dims[1].attach_scale(particle)
        file["label"] = np.array([0.0, 7.0, 1.0])
        file["label"].dims[0].attach_scale(sample)
    with pytest.raises(ValueError, match=r"jet 1 of .*a\.h5 has the label 7: labels are 0 to 4"):
        open_jets(str(tmp_path / "a.h5"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["ptt"]}, "has no feature 'ptt' of particles: did you mean 'pt'"),
        ({"features": ["pt", "pt"]}, "features names 'pt' twice"),
        ({"features": []}, "features is empty"),
        ({"particles": 0}, "particles must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"normalize": "log"}, "normalize='log': choose particles, padded, none"),
        ({"split": {"train": 15, "test": 10}}, r"the splits overlap: train 15 \+ test 10 = 25"),
        ({"split": {"train": 0.9, "tset": 0.1}}, "unknown split 'tset'"),
        ({"split": {"train": 2, "test": 5}}, "no training jet of .* is of the class"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = hls4ml(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=message):
        JetsData(str(path), **options).setup("fit")


def test_a_feature_that_is_the_same_everywhere(tmp_path: Path) -> None:
    data = JetsData(str(jetclass(tmp_path / "a.h5", count=40)), features=["deta", "charge"])
    with pytest.raises(ValueError, match=r"the feature charge of .* is the same for all particles"):
        data.normalizers()


def test_files_that_are_not_there_or_no_jets(tmp_path: Path) -> None:
    hls4ml(tmp_path / "jets.h5")
    with pytest.raises(FileNotFoundError, match=r"no data at .*did you mean 'jets\.h5'"):
        open_jets(str(tmp_path / "jet.h5"))
    with pytest.raises(FileNotFoundError, match="no file matches"):
        open_jets(str(tmp_path / "*.root"))
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(ValueError, match=r"jets are read from .*, not from .*a\.csv"):
        open_jets(str(tmp_path / "a.csv"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no jets: no file ends in"):
        open_jets(str(tmp_path / "empty"))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.ones(3)
    with pytest.raises(ValueError, match=r"is in no layout of jets: HLS4ML's .* it holds data"):
        open_jets(str(tmp_path / "other.h5"))


def test_truncated_files(tmp_path: Path) -> None:
    path = hls4ml(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(OSError, match=r"a\.h5"):
        open_jets(str(path))


def test_files_that_differ(tmp_path: Path) -> None:
    one, other = hls4ml(tmp_path / "a.h5"), jetclass(tmp_path / "b.h5")
    with pytest.raises(ValueError, match="differ in layout"):
        open_jets([str(one), str(other)])


def test_misshapen_particles(tmp_path: Path) -> None:
    path = hls4ml(tmp_path / "a.h5", jetConstituentList=np.ones((20, 6)))
    with pytest.raises(ValueError, match=r"jetConstituentList of .* of shape \(20, 6\): expected"):
        open_jets(str(path))
    path = hls4ml(tmp_path / "b.h5", jetConstituentList=np.ones((20, 6, 19)))
    with pytest.raises(ValueError, match="has 19 features of particles, of which 16 have a name"):
        open_jets(str(path))


def test_splits_that_are_there_already(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / name).mkdir()
        hls4ml(tmp_path / name / "a.h5")
    with pytest.raises(ValueError, match=r"split names 'test' jets of .*, but they are there"):
        JetsData(str(tmp_path), split={"test": 0.1}).setup("fit")


def test_jets_of_another_kind_than_trained_on() -> None:
    mine = JetsDescription(("a", "b"), ("pt", "eta"), 8)
    with pytest.raises(ValueError, match="trained with the classes a, b, x has a, c"):
        mine.require_match(JetsDescription(("a", "c"), ("pt", "eta"), 8), "x")
    with pytest.raises(ValueError, match="trained with the features pt, eta, x has pt"):
        mine.require_match(JetsDescription(("a", "b"), ("pt",), 8), "x")
    with pytest.raises(ValueError, match="8 particles of each jet, x gives 9"):
        mine.require_match(JetsDescription(("a", "b"), ("pt", "eta"), 9), "x")
