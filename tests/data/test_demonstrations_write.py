from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from surform.data.demonstrations_write import DemonstrationWriter


def episode(steps, width=2, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "actions": rng.uniform(-1, 1, (steps, width)),
        "obs": {
            "state": rng.normal(size=(steps, 3)),
            "front": rng.integers(0, 255, (steps, 8, 8, 3), dtype=np.uint8),
        },
        "rewards": np.zeros(steps),
        "dones": np.arange(steps) == steps - 1,
    }


def test_what_is_written_is_robomimics_layout(tmp_path):
    path = tmp_path / "demos.h5"
    with DemonstrationWriter(path, {"env_name": "Point", "env_kwargs": {"n": 1}}) as writer:
        assert writer.add(**episode(4), mask="train", task="reach", seed=7) == "demo_0"
        assert not path.exists()
        assert writer.add(**episode(3, seed=1), mask=["valid", "short"]) == "demo_1"
    with h5py.File(path) as file:
        assert json.loads(file["data"].attrs["env_args"])["env_kwargs"] == {"n": 1}
        assert file["data"].attrs["total"] == 7
        first = file["data/demo_0"]
        assert dict(first.attrs) == {"num_samples": 4, "task": "reach", "seed": 7}
        given = episode(4)
        assert np.array_equal(first["obs/front"], given["obs"]["front"])
        assert np.array_equal(first["actions"], given["actions"].astype(np.float32))
        assert first["dones"][:].tolist() == [0, 0, 0, 1]
        assert file["mask/train"][:].tolist() == [b"demo_0"]
        assert file["mask/valid"][:].tolist() == file["mask/short"][:].tolist() == [b"demo_1"]


@pytest.mark.fault
def test_a_failed_recording_leaves_nothing(tmp_path):
    def broken():
        with DemonstrationWriter(tmp_path / "demos.h5", {}) as writer:
            writer.add(**episode(4))
            raise RuntimeError("the robot fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        broken()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault
def test_a_file_without_episodes(tmp_path):
    with pytest.raises(ValueError, match=r"no episode was written to .*demos\.h5"):
        DemonstrationWriter(tmp_path / "demos.h5", {}).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((0, 2))}, "demo_1 has no step"),
        ({"actions": np.zeros(3)}, r"actions of demo_1 have shape \(3,\), but must be"),
        ({"rewards": np.zeros(5)}, r"rewards of demo_1 have shape \(5,\), but there are 3 actions"),
        ({"obs": {}}, "demo_1 has no observation"),
        ({"actions": np.full((3, 2), np.nan)}, "actions of demo_1 are not finite at step 0"),
        ({"actions": np.zeros((3, 4))}, r"shape \(4,\), but in demo_0 \(2,\)"),
        ({"obs": {"state": np.zeros((3, 3))}}, "demo_1 lacks front, which demo_0 has"),
        ({"rewards": np.array(["a", "b", "c"])}, "arrays of <U1 cannot be kept"),
    ],
)
def test_episodes_that_do_not_fit(tmp_path, change, message):
    path = tmp_path / "demos.h5"
    with DemonstrationWriter(path, {}) as writer:
        writer.add(**episode(4))
        with pytest.raises(ValueError, match=message):
            writer.add(**(episode(3) | change))
        writer.add(**episode(3))
    with h5py.File(path) as file:
        assert list(file["data"]) == ["demo_0", "demo_1"]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "env_args", "message"),
    [
        ("demos.zarr", {}, r"must end in \.h5"),
        ("demos.h5", {"env": object()}, "plain values only"),
    ],
)
def test_files_that_cannot_be_begun(tmp_path, name, env_args, message):
    with pytest.raises(ValueError, match=message):
        DemonstrationWriter(tmp_path / name, env_args)
