"""What is wrong with demonstrations is said in one sentence, before training."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from surform.data.demonstrations_copy import copy_demonstrations
from surform.data.demonstrations_files import open_demonstrations
from surform.data.demonstrations_module import DemonstrationsData
from tests.data.demonstration_files import write_demonstrations, write_minari

pytestmark = pytest.mark.fault


@pytest.fixture
def demos(tmp_path):
    return write_demonstrations(tmp_path / "demos.h5", episodes=4, camera=16)


def change(path, group, name, values):
    with h5py.File(path, "r+") as file:
        where = file[group]
        del where[name]
        if values is not None:
            where[name] = values


@pytest.mark.parametrize(
    ("group", "name", "values", "message"),
    [
        ("data/demo_2", "obs", None, "demo_2 lacks obs: what was seen before each action"),
        ("data/demo_2", "actions", None, "demo_2 lacks actions"),
        ("data/demo_2", "actions", np.zeros((0, 2)), "demo_2 is empty: it has no action"),
        ("data/demo_2", "actions", np.zeros((14, 3)), "actions of 3 numbers, but demo_0 of 2"),
        ("data/demo_2", "actions", np.zeros((14, 1, 2)), r"actions of shape \(14, 1, 2\)"),
        ("data/demo_2", "actions", np.array([b"a"] * 14), "and type .S1, but they must be"),
        ("data/demo_2", "rewards", np.zeros(9), "demo_2 has 9 rewards, but 14 actions"),
        ("data/demo_2", "dones", np.zeros(15), "demo_2 has 15 dones, but 14 actions"),
        ("data/demo_2/obs", "goal", None, "demo_2 lacks goal, which demo_0 has"),
        ("data/demo_0/obs", "goal", None, "demo_0 lacks goal, which demo_1 has"),
        ("data/demo_2/obs", "goal", np.zeros((13, 2)), "13 steps of goal, but 14 actions"),
        ("data/demo_2/obs", "goal", np.zeros((14, 3)), r"goal of shape \(3,\) \(numbers\), but"),
        ("data/demo_2/obs", "front", np.zeros((14, 8, 8, 3), np.uint8), r"front of shape \(8, 8"),
        ("data/demo_2/obs", "front", np.zeros((14, 4)), r"\(numbers\), but demo_0 of \(16, 16"),
        ("mask", "train", np.array([b"demo_9"]), "names demo_9, which is none of its 4 episodes"),
    ],
)
def test_episodes_that_are_not_alike(demos, group, name, values, message):
    change(demos, group, name, values)
    with pytest.raises(ValueError, match=message):
        open_demonstrations(str(demos))


@pytest.mark.parametrize("cache", ["memory", "files"])
def test_numbers_that_are_not_finite(demos, cache):
    bad = np.zeros((14, 2), np.float32)
    bad[5, 1] = np.nan
    change(demos, "data/demo_2", "actions", bad)
    data = DemonstrationsData(str(demos), split={"train": 1.0}, cache=cache)
    with pytest.raises(
        ValueError, match=r"actions of .*demo_2, step 5 are not finite \(number 1\)"
    ):
        data.description()


def test_a_damaged_picture(demos):
    with h5py.File(demos, "r+") as file:
        for number in range(4):
            group = file[f"data/demo_{number}/obs"]
            steps = len(group["front"])
            del group["front"]
            rows = group.create_dataset("front", steps, dtype=h5py.vlen_dtype(np.uint8))
            for step in range(steps):
                rows[step] = np.frombuffer(b"\xff\xd8\xff\xe0 this is no picture", np.uint8)
    with pytest.raises(ValueError, match=r"front of .*demo_0, step 0 is no picture that can be"):
        open_demonstrations(str(demos))


def test_files_that_hold_no_demonstrations(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no data at .*gone\.h5"):
        open_demonstrations(str(tmp_path / "gone.h5"))
    (tmp_path / "text.h5").write_text("not a file of HDF5 at all, but long enough to look at")
    with pytest.raises(OSError, match="is not an HDF5"):
        open_demonstrations(str(tmp_path / "text.h5"))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["fields"] = np.zeros(3)
    with pytest.raises(ValueError, match="no group data/demo_0, but fields"):
        open_demonstrations(str(tmp_path / "other.h5"))
    (tmp_path / "demos.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is none of what holds demonstrations"):
        open_demonstrations(str(tmp_path / "demos.csv"))
    (tmp_path / "pointer.h5").write_text("version https://git-lfs.github.com/spec/v1\noid 1\n")
    with pytest.raises(OSError, match="Git LFS pointer"):
        open_demonstrations(str(tmp_path / "pointer.h5"))


def test_a_truncated_file(demos):
    whole = demos.read_bytes()
    demos.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"demos\.h5 is truncated"):
        open_demonstrations(str(demos))


def test_minari_needs_one_observation_more(tmp_path):
    path = write_minari(tmp_path / "main_data.hdf5")
    with h5py.File(path, "r+") as file:
        group = file["episode_1"]
        seen = group["observations"][:-1]
        del group["observations"]
        group["observations"] = seen
    with pytest.raises(ValueError, match="6 steps of state, but 6 actions: there must be one more"):
        open_demonstrations(str(path))


def test_files_that_do_not_go_together(demos, tmp_path):
    other = write_minari(tmp_path / "main_data.hdf5")
    with h5py.File(other, "r+") as file:
        for group in file.values():
            del group["actions"]
            group["actions"] = np.zeros((6, 3))
    with pytest.raises(ValueError, match=r"actions have 3 numbers in .*, but 2 in"):
        open_demonstrations([str(demos), str(other)])
    slow = write_demonstrations(tmp_path / "slow.h5", episodes=2, camera=16)
    with h5py.File(slow, "r+") as file:
        file["data"].attrs["env_args"] = json.dumps({"fps": 5})
    with pytest.raises(ValueError, match=r"slow\.h5 has 5 steps in a second, but .*demos\.h5 10"):
        open_demonstrations([str(demos), str(slow)])
    small = write_demonstrations(tmp_path / "small.h5", episodes=2, camera=8)
    with pytest.raises(ValueError, match=r"front has the shape \(8, 8, 3\) in"):
        open_demonstrations([str(demos), str(small)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": ["frnt"]}, "no observation 'frnt': did you mean 'front'"),
        ({"cameras": ["goal"]}, "goal of .* is no camera: it has numbers"),
        ({"observations": ["front"]}, "front of .* is a camera: name it in data.cameras"),
        ({"observations": ["pose"]}, "no observation 'pose': did you mean 'position'"),
        ({"language": "words"}, "no observation 'words'"),
        ({"language": "front"}, "front of .* holds images, but no embedding"),
        ({"history": 0}, "history must be at least 1, got 0"),
        ({"chunk": 0}, "chunk must be at least 1, got 0"),
        ({"image_size": [8]}, r"image_size is \[8\], but must be one side"),
        ({"split": {"train": "20_percent"}}, "no mask '20_percent': it holds train, valid"),
        ({"split": {"train": "train", "validation": "train"}}, "masks of both train and valid"),
        ({"split": {"train": "train", "validation": 1}}, "mixes masks and amounts"),
        ({"split": {"train": 3, "validation": 2}}, "the splits overlap"),
        ({"split": {"validation": 0.5}}, "split has validation, but needs train"),
        ({"split": {"training": 0.5}}, "unknown split 'training'"),
        ({"action_limits": [1, -1]}, r"action_limits is \[1, -1\], but must be \[low, high\]"),
        ({"action_limits": [[-1, 1]]}, "or 2 such pairs"),
        ({"action_limits": [-0.1, 0.1]}, "somewhere, which is beyond its action_limits -0.1 to"),
        ({"action_scale": "max"}, "action_scale='max': choose limits, gaussian, none"),
        ({"cache": "disk"}, "cache='disk': choose auto, memory, files"),
        ({"path": {"test": "demos.h5"}}, "path names test, but must name train"),
        ({"path": {"train": "x", "val": "y"}}, "unknown split 'val' in path"),
    ],
)
def test_options_that_do_not_fit_the_data(demos, options, message):
    with pytest.raises(ValueError, match=message):
        DemonstrationsData(**{"path": str(demos), **options}).description()


def test_episodes_without_an_instruction(demos):
    with h5py.File(demos, "r+") as file:
        for name in ("task", "instruction"):
            del file["data/demo_1"].attrs[name]
    with pytest.raises(ValueError, match="demo_1 has neither instruction nor task, but"):
        DemonstrationsData(str(demos), language="text").description()


def test_a_split_that_is_not_there(demos):
    data = DemonstrationsData(str(demos), split={"train": 1.0})
    with pytest.raises(ValueError, match="there are no test episodes: there are train"):
        data.test_dataloader()


def test_data_that_a_policy_was_not_trained_on(demos, tmp_path):
    trained = DemonstrationsData(str(demos), observations=["goal"]).description()
    with pytest.raises(ValueError, match=r"gives observations goal \(2\), position \(2\), but the"):
        DemonstrationsData(str(demos)).check(trained)


@pytest.fixture
def lerobot(demos, tmp_path):
    return copy_demonstrations(str(demos), tmp_path / "lerobot")


def edit(folder, **values):
    path = folder / "meta" / "info.json"
    info = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in info.items() if v is not None}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"codebase_version": "v2.1"}, "is a LeRobot data set of version v2.1, but v3 is read"),
        ({"fps": None}, r"info\.json lacks fps"),
        ({"fps": 0}, "says fps = 0, but it must be positive"),
        ({"features": {}}, "lists no feature called action"),
        ({"features": {"action": {"shape": [2]}}}, "feature action as .* must say its dtype"),
        (
            {"features": {"action": {"dtype": "float32", "shape": "2"}}},
            "feature action as .* a list of sizes",
        ),
    ],
)
def test_lerobots_info(lerobot, values, message):
    edit(lerobot, **values)
    with pytest.raises(ValueError, match=message):
        open_demonstrations(str(lerobot))


def test_lerobots_tables(lerobot):
    import pyarrow.parquet as parquet

    data = next((lerobot / "data").rglob("*.parquet"))
    table = parquet.read_table(data)
    parquet.write_table(table.drop(["observation.goal"]), data)
    with pytest.raises(ValueError, match=r"lacks the column observation\.goal, which info\.json"):
        open_demonstrations(str(lerobot)).read(0, "goal", 0, 3)
    parquet.write_table(table.slice(0, 20), data)
    with pytest.raises(ValueError, match="has 20 rows, but its 4 episodes have 54 steps"):
        open_demonstrations(str(lerobot))
    data.write_bytes(data.read_bytes()[:200])
    with pytest.raises(OSError, match="cannot be read"):
        open_demonstrations(str(lerobot))
    data.unlink()
    with pytest.raises(FileNotFoundError, match="is missing, which meta/episodes speaks of"):
        open_demonstrations(str(lerobot))


def test_lerobots_rows_of_other_lengths(lerobot):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    data = next((lerobot / "data").rglob("*.parquet"))
    table = parquet.read_table(data)

    def store(rows):
        place = table.schema.get_field_index("observation.goal")
        parquet.write_table(table.set_column(place, "observation.goal", pa.array(rows)), data)

    store([[0.0], [0.0, 1.0, 2.0]] * 27)  # together as many as two in each row
    with pytest.raises(ValueError, match=r"the rows of observation\.goal have different lengths"):
        open_demonstrations(str(lerobot)).read(0, "goal", 0, 3)
    store([[0.0, 1.0, 2.0]] * 54)
    with pytest.raises(ValueError, match=r"episode 0 has 3 numbers, but info\.json says 2"):
        open_demonstrations(str(lerobot)).read(0, "goal", 0, 3)


def test_lerobots_episodes(lerobot):
    import pyarrow.parquet as parquet

    rows = next((lerobot / "meta/episodes").rglob("*.parquet"))
    table = parquet.read_table(rows)
    parquet.write_table(table.take([0, 1, 3]), rows)
    with pytest.raises(ValueError, match="lacks episode 2, or has it twice"):
        open_demonstrations(str(lerobot))
    parquet.write_table(table.drop(["length"]), rows)
    with pytest.raises(ValueError, match="lacks the column length"):
        open_demonstrations(str(lerobot))
    rows.unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no \.parquet file"):
        open_demonstrations(str(lerobot))


def test_lerobots_videos(demos, tmp_path):
    av = pytest.importorskip("av")
    folder = copy_demonstrations(str(demos), tmp_path / "videos", video=True)
    (video,) = folder.rglob("*.mp4")
    whole = video.read_bytes()
    video.write_bytes(b"\x00\x00\x00\x18ftypmp42 no film" + bytes(200))
    with pytest.raises(ValueError, match=r"front of .*episode 1: .*mp4 cannot be decoded"):
        open_demonstrations(str(folder)).read(1, "front", 0, 3)
    with av.open(str(video), "w", format="mp4") as film:
        track = film.add_stream("libx264", rate=10)
        track.height, track.width, track.pix_fmt = 16, 16, "yuv420p"
        for _ in range(5):
            film.mux(track.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        film.mux(track.encode())
    with pytest.raises(ValueError, match="has 5 of 12 frames, number 5 is missing"):
        open_demonstrations(str(folder)).read(0, "front", 0, 12)
    video.write_bytes(whole)
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"]["observation.images.front"]["shape"] = [32, 32, 3]
    edit(folder, features=info["features"])
    with pytest.raises(ValueError, match=r"frames of shape \(16, 16, 3\), but the data set says"):
        open_demonstrations(str(folder)).read(0, "front", 0, 12)
    video.unlink()
    with pytest.raises(FileNotFoundError, match="no data at"):
        open_demonstrations(str(folder)).read(0, "front", 0, 12)


def test_copies_that_cannot_be_made(demos, tmp_path):
    with pytest.raises(ValueError, match="would replace the data it is made from"):
        copy_demonstrations(str(demos), demos)
    with pytest.raises(ValueError, match=r"video is for LeRobot's layout, not for \.h5"):
        copy_demonstrations(str(demos), tmp_path / "copy.h5", video=True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="is no LeRobot data set"):
        copy_demonstrations(str(demos), tmp_path / "folder")
    minari = write_minari(tmp_path / "main_data.hdf5")
    with pytest.raises(ValueError, match="how many steps there are in a second: give fps"):
        copy_demonstrations(str(minari), tmp_path / "lerobot")
    assert not (tmp_path / "lerobot").exists()


def test_episodes_left_out_may_be_damaged(demos):
    with h5py.File(demos, "r+") as file:
        file["data/demo_3/actions"][2] = np.nan
        file["data/demo_3"].attrs.update({"task": "broken", "instruction": ""})
        del file["mask"]
        file["mask/good"], file["mask/held"] = np.array([b"demo_0", b"demo_1"]), [b"demo_2"]
    with pytest.raises(ValueError, match="demo_3, step 2 are not finite"):
        DemonstrationsData(str(demos)).samples("train")
    masks = {"train": "good", "validation": "held"}
    assert len(DemonstrationsData(str(demos), split=masks).samples("train")) == 12 + 13
    with h5py.File(demos, "r+") as file:
        file["data/demo_3"].attrs["task"] = ""
    with pytest.raises(ValueError, match="demo_3 has neither instruction nor task"):
        DemonstrationsData(
            str(demos), language="text", observations=["goal"], split={"train": 4}, cache="files"
        ).samples("train")
    told = DemonstrationsData(str(demos), split=masks, language="text")
    assert told.description().language_dim == 64


@pytest.mark.parametrize(
    "options", [{"observations": ["goal", "goal"]}, {"cameras": ["front", "front"]}]
)
def test_names_twice(demos, options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} names {options[name][0]!r} twice"):
        DemonstrationsData(str(demos), **options)


def test_no_task_is_chosen(demos):
    with pytest.raises(ValueError, match="tasks is empty: name some, or leave it out for all"):
        DemonstrationsData(str(demos), tasks=[]).samples("train")
