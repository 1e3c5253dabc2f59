"""Demonstrations of ALOHA and LIBERO; arrays that no network takes are named."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from surform.cli import main
from surform.data.demonstrations_copy import copy_demonstrations
from surform.data.demonstrations_files import holds_demonstrations, open_demonstrations
from surform.data.demonstrations_module import DemonstrationsData
from tests.data.demonstration_files import (
    pictures,
    steps_of,
    write_aloha,
    write_demonstrations,
    write_libero,
)


@pytest.mark.parametrize("packed", [False, True])
def test_aloha_is_a_file_for_each_episode(tmp_path, packed):
    folder = write_aloha(tmp_path / "aloha", episodes=11, packed=packed)
    for path in (str(folder), str(folder / "episode_0.hdf5")):
        assert holds_demonstrations(path)
    source = open_demonstrations(str(folder))
    assert [episode.name for episode in source.episodes] == [f"episode_{n}" for n in range(11)]
    assert [episode.steps for episode in source.episodes] == list(range(6, 17))
    assert set(source.about.columns) == {"qpos", "qvel", "top"}
    assert source.about.columns["top"].shape == (16, 16, 3)
    assert source.about.fps == 50
    one = steps_of(10, 16)
    np.testing.assert_allclose(source.read(10, "action", 2, 9), one["actions"][2:9], rtol=1e-6)
    images = source.read(10, "top", 0, 16)
    wanted = pictures(one["obs"]["position"])
    assert np.abs(images.astype(int) - wanted).mean() <= (4 if packed else 0)
    pattern = open_demonstrations(str(folder / "episode_*.hdf5"))
    assert len(pattern.episodes) == 11


def test_windows_and_copies_of_aloha(tmp_path):
    folder = write_aloha(tmp_path / "aloha", episodes=5)
    data = DemonstrationsData(
        str(folder), observations=["qpos"], cameras=["top"], chunk=4, split={"train": 4}
    )
    batch = data.samples("train")[[0, 3]]
    assert batch.state.shape == (2, 1, 4)
    assert batch.images["top"].shape == (2, 1, 16, 16, 3)
    copy_demonstrations(str(folder), tmp_path / "copy.h5")
    again = open_demonstrations(str(tmp_path / "copy.h5"))
    assert np.array_equal(
        again.read(3, "qpos", 0, 9), open_demonstrations(str(folder)).read(3, "qpos", 0, 9)
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"problem_info": json.dumps({"language_instruction": ["turn on ", "the stove"]})},
        {"problem_info": json.dumps({"language_instruction": '"turn on the stove"'})},
        {
            "problem_info": "{",
            "bddl_file_name": "a/libero_90/KITCHEN_SCENE3_turn_on_the_stove.bddl",
        },
        {"bddl_file_name": "turn_on_the_stove.bddl"},
    ],
)
def test_libero_tells_its_instruction_once(tmp_path, attributes):
    source = open_demonstrations(str(write_libero(tmp_path / "stove_demo.hdf5", **attributes)))
    assert {episode.told for episode in source.episodes} == {"turn on the stove"}
    assert source.about.columns["agentview_rgb"].kind == "image"
    assert source.about.columns["ee_states"].shape == (4,)
    np.testing.assert_allclose(source.read(1, "action", 0, 6), steps_of(1, 6)["actions"], rtol=1e-6)


def test_files_of_libero_are_tasks_side_by_side(tmp_path):
    for name in ("open_the_drawer", "close_the_drawer"):
        write_libero(tmp_path / f"{name}_demo.hdf5", bddl_file_name=f"{name}.bddl")
    data = DemonstrationsData(str(tmp_path / "*.hdf5"), language="text", split={"train": 4})
    assert data.description().tasks == ("close the drawer", "open the drawer")


def test_what_is_left_out_is_told(tmp_path, capsys):
    path = write_demonstrations(tmp_path / "demos.h5", episodes=4)
    with h5py.File(path, "a") as file:
        for group in file["data"].values():
            steps = len(group["actions"])
            group["obs/depth"] = np.zeros((steps, 8, 8, 1), np.float32)
            group["obs/bright"] = np.zeros((steps, 8, 8, 3), np.float32)
    assert main(["info", str(path)]) == 0
    told = capsys.readouterr().out
    assert "left out: depth, as float32 of 8 x 8 x 1 is no vector of numbers, and no image" in told
    assert "left out: bright, as float32 of 8 x 8 x 3" in told
    with pytest.raises(
        ValueError,
        match=r"depth of .* is left out: float32 of 8 x 8 x 1 is no .*; there is goal, position",
    ):
        DemonstrationsData(str(path), cameras=["depth"]).samples("train")


@pytest.mark.fault
def test_damaged_files_of_aloha(tmp_path):
    folder = write_aloha(tmp_path / "aloha")
    with h5py.File(folder / "episode_1.hdf5", "a") as file:
        del file["observations/images/top"]
    source = open_demonstrations(str(folder))
    with pytest.raises(ValueError, match=r"top of .* is left out: .*episode_1.hdf5 lacks it"):
        source.column("top")
    for number, (actions, message) in enumerate(
        (
            (None, "episode_2 lacks action"),
            (np.zeros((0, 2)), "episode_2 is empty"),
            (np.zeros((5, 2)), "8 steps of top, but 5 actions"),
            (np.zeros((8, 3)), "actions have 3 numbers in"),
        )
    ):
        folder = write_aloha(tmp_path / f"aloha{number}")
        with h5py.File(folder / "episode_2.hdf5", "a") as file:
            del file["action"]
            if actions is not None:
                file["action"] = actions
        with pytest.raises(ValueError, match=message):
            open_demonstrations(str(folder))
    folder = write_aloha(tmp_path / "damaged")
    (folder / "episode_2.hdf5").write_bytes(b"damaged")
    with pytest.raises(OSError, match=r"episode_2\.hdf5"):
        open_demonstrations(str(folder))
