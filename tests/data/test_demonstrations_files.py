"""Layouts of demonstrations: robomimic's, Minari's, LeRobot v3; one into the other."""

from __future__ import annotations

import io
import json

import h5py
import numpy as np
import pytest
from PIL import Image

from surform.data.demonstrations_copy import copy_demonstrations
from surform.data.demonstrations_files import holds_demonstrations, open_demonstrations
from surform.data.demonstrations_module import DemonstrationsData
from tests.data.demonstration_files import (
    pictures,
    steps_of,
    write_demonstrations,
    write_minari,
)


def test_robomimics_layout(tmp_path):
    path = str(write_demonstrations(tmp_path / "demos.h5", episodes=12, camera=16))
    source = open_demonstrations(path)
    assert holds_demonstrations(path)
    assert [episode.name for episode in source.episodes] == [f"demo_{n}" for n in range(12)]
    assert source.episodes[3].steps == 15
    assert source.episodes[3].told == "go to the right"
    assert source.about.fps == 10
    assert source.about.masks["valid"].tolist() == [10, 11]
    one = steps_of(11, 23)
    np.testing.assert_allclose(source.read(11, "action", 2, 5), one["actions"][2:5], rtol=1e-6)
    images = pictures(one["obs"]["position"].astype(np.float32).astype(float), 16)
    assert np.array_equal(source.read(11, "front", 20, 23), images[20:])


@pytest.mark.parametrize(("kind", "padded"), [("PNG", False), ("PNG", True), ("JPEG", True)])
def test_pictures_as_bytes_of_jpeg_or_png(tmp_path, kind, padded):
    path = str(write_demonstrations(tmp_path / "demos.h5", episodes=2, camera=16))
    with h5py.File(path, "r+") as file:
        groups = [file[f"data/demo_{number}/obs"] for number in range(2)]
        images = [group["front"][:] for group in groups]
        for group, own in zip(groups, images, strict=True):
            _pack(group, own, kind, padded)
    source = open_demonstrations(path)
    assert source.about.columns["front"].stored == "packed"
    found = source.read(1, "front", 3, 7)
    off = np.abs(found.astype(int) - images[1][3:7].astype(int)).mean()
    assert off == 0 if kind == "PNG" else 0 < off < 10
    data = DemonstrationsData(path, cameras=["front"], cache="files", image_size=8)
    assert data.samples("train")[[0]].images["front"].shape == (1, 1, 8, 8, 3)


def _pack(group, images, kind, padded):
    packed = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, format=kind)
        packed.append(np.frombuffer(stream.getvalue(), np.uint8))
    del group["front"]
    if padded:
        width = max(map(len, packed))
        group["front"] = np.stack([np.pad(one, (0, width - len(one))) for one in packed])
        return
    rows = group.create_dataset("front", len(packed), dtype=h5py.vlen_dtype(np.uint8))
    for number, one in enumerate(packed):
        rows[number] = one


@pytest.mark.parametrize("nested", [False, True])
def test_minaris_layout_has_one_observation_more(tmp_path, nested):
    folder = tmp_path / "point-v0" / "data"
    folder.mkdir(parents=True)
    write_minari(folder / "main_data.hdf5", nested=nested)
    assert holds_demonstrations(str(tmp_path / "point-v0"))
    source = open_demonstrations(str(tmp_path / "point-v0"))
    wanted = {"robot.position": 2, "robot.goal": 2} if nested else {"state": 4}
    assert {name: c.shape[0] for name, c in source.about.columns.items()} == wanted
    assert [episode.steps for episode in source.episodes] == [6, 6, 6]
    one, first = steps_of(1, 7), "robot.position" if nested else "state"
    found = source.read(1, first, 0, 6)
    np.testing.assert_allclose(found[:, :2], one["obs"]["position"][:6], rtol=1e-6)
    np.testing.assert_allclose(source.read(1, "action", 0, 6), one["actions"][:6], rtol=1e-6)
    assert source.episodes[1].told == "go to the right"


@pytest.mark.parametrize("camera", [None, 16])
def test_lerobots_layout_there_and_back(tmp_path, camera):
    path = str(write_demonstrations(tmp_path / "demos.h5", episodes=5, camera=camera))
    folder = copy_demonstrations(path, tmp_path / "lerobot")
    assert holds_demonstrations(str(folder))
    first, second = open_demonstrations(path), open_demonstrations(str(folder))
    assert [e.steps for e in first.episodes] == [e.steps for e in second.episodes]
    assert [e.told for e in first.episodes] == [e.told for e in second.episodes]
    assert second.about.fps == first.about.fps
    copy_demonstrations(str(folder), tmp_path / "again.h5")
    third = open_demonstrations(str(tmp_path / "again.h5"))
    for source in (second, third):
        assert set(source.about.columns) == set(first.about.columns)
        assert {n: m.tolist() for n, m in source.about.masks.items()} == {
            "train": [0, 1, 2], "valid": [3, 4],
        }  # fmt: skip
        for number, episode in enumerate(first.episodes):
            for name in ("action", "reward", *first.about.columns):
                a, b = (s.read(number, name, 1, episode.steps) for s in (first, source))
                assert a.dtype == b.dtype
                assert np.array_equal(a, b), name


def test_lerobots_files_say_what_is_in_them(tmp_path):
    path = str(write_demonstrations(tmp_path / "demos.h5", episodes=3, camera=16))
    folder = copy_demonstrations(path, tmp_path / "lerobot", robot_type="point")
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 39, 2)
    assert info["features"]["observation.images.front"]["shape"] == [16, 16, 3]
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": None}
    statistics = json.loads((folder / "meta/stats.json").read_text())
    actions = np.concatenate([steps_of(n, 12 + n)["actions"] for n in range(3)]).astype(np.float32)
    np.testing.assert_allclose(statistics["action"]["mean"], actions.mean(0), atol=1e-6)
    np.testing.assert_allclose(statistics["action"]["std"], actions.std(0), rtol=1e-5)
    assert np.shape(statistics["observation.images.front"]["mean"]) == (3, 1, 1)
    import pandas as pd

    tasks = pd.read_parquet(folder / "meta/tasks.parquet")
    assert tasks.loc["go to the right", "task_index"] == 1
    rows = pd.read_parquet(folder / "meta/episodes/chunk-000/file-000.parquet")
    assert rows["dataset_from_index"].tolist() == [0, 12, 25]
    assert rows["length"].tolist() == [12, 13, 14]
    data = pd.read_parquet(folder / "data/chunk-000/file-000.parquet")
    assert data["index"].tolist() == list(range(39))
    assert data["timestamp"].iloc[13] == pytest.approx(0.1)
    assert data["next.done"].sum() == 3


def test_lerobots_columns_as_others_write_them(tmp_path):
    """Long lists, which Polars writes, and pictures as bytes alone."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path = str(write_demonstrations(tmp_path / "demos.h5", episodes=3, camera=16))
    folder = copy_demonstrations(path, tmp_path / "lerobot")
    (data,) = (folder / "data").rglob("*.parquet")
    table = parquet.read_table(data)
    long = pa.large_list(pa.float32())
    for name in ("action", "observation.goal"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(table.column(name).to_pylist(), long))
    name = "observation.images.front"
    pictures = [each["bytes"] for each in table.column(name).to_pylist()]
    place = table.schema.get_field_index(name)
    parquet.write_table(table.set_column(place, name, pa.array(pictures)), data)
    first, second = open_demonstrations(path), open_demonstrations(str(folder))
    for name in ("action", "goal", "front"):
        assert np.array_equal(first.read(1, name, 0, 13), second.read(1, name, 0, 13))


def test_lerobots_videos_are_decoded_once(tmp_path):
    pytest.importorskip("av")
    path = str(write_demonstrations(tmp_path / "demos.h5", episodes=3, camera=32))
    folder = copy_demonstrations(path, tmp_path / "lerobot", video=True)
    first, second = open_demonstrations(path), open_demonstrations(str(folder))
    for number in range(3):
        last = first.episodes[number].steps
        a, b = (s.read(number, "front", 2, last).astype(int) for s in (first, second))
        assert a.shape == b.shape
        assert np.abs(a - b).mean() < 8  # H.264 halves the resolution of colors
        # the bright square is where it was
        for x, y in zip(a, b, strict=True):
            places = [np.argwhere(image[..., 0] > 110).mean(0) for image in (x, y)]
            assert np.abs(places[0] - places[1]).max() < 1
    small = {"cameras": ["front"], "image_size": 16, "unpacked": str(tmp_path / "frames")}
    data = DemonstrationsData(str(folder), cache="files", **small)
    assert data.samples("train")[[0, 5]].images["front"].shape == (2, 1, 16, 16, 3)
    for video in folder.rglob("*.mp4"):
        video.rename(video.with_suffix(".gone"))
    again = DemonstrationsData(str(folder), cache="files", **small)
    assert again.samples("train")[[0, 5]].images["front"].float().mean() > 20


def test_many_files_of_one_lerobot_data_set(tmp_path, monkeypatch):
    import surform.data.demonstrations_lerobot_write as writing

    path = str(write_demonstrations(tmp_path / "demos.h5", episodes=6))
    monkeypatch.setattr(writing, "_MOST_BYTES", 1500)
    folder = copy_demonstrations(path, tmp_path / "lerobot")
    assert len(list((folder / "data").rglob("*.parquet"))) > 2
    first, second = open_demonstrations(path), open_demonstrations(str(folder))
    for number, episode in enumerate(first.episodes):
        a, b = (s.read(number, "goal", 0, episode.steps) for s in (first, second))
        assert np.array_equal(a, b)
