from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from surform.cli import main
from surform.data.provision import provide
from surform.data.solvers.demonstrations_run import attempts_of
from surform.data.solvers.generate import generate
from tests.data.environments.strange import STRANGE


def arrays(path):
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def same(one, other) -> bool:
    a, b = arrays(one), arrays(other)
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


def test_episodes_hold_what_led_to_success(tmp_path):
    path = generate("demonstrations", tmp_path / "d.h5", 10, env="point-reach", image_size=32)
    with h5py.File(path, "r") as file:
        assert file.attrs["solver"] == "demonstrations"
        about = json.loads(file["data"].attrs["env_args"])
        assert about["env_name"] == "point-reach"
        assert about["env_kwargs"] == {"image_size": 32}
        assert about["fps"] == 10
        assert len(file["data"]) == 30
        assert [name.decode() for name in file["mask/valid"]] == ["demo_9", "demo_19", "demo_29"]
        demo = file["data/demo_12"]
        assert demo.attrs["task"] == "green"
        assert demo.attrs["instruction"] == "go to the green disc"
        states, actions = demo["obs/state"][:], demo["actions"][:]
        assert demo["obs/image"].shape == (len(actions), 32, 32, 3)
        # an observation is what was seen before its action
        np.testing.assert_allclose(states[1:, :2] - states[:-1, :2], 0.1 * actions[:-1], atol=1e-6)
        reached = np.hypot(*(states[:, :2] + 0.1 * actions - states[:, 4:6]).T) < 0.1
        assert reached.tolist() == [False] * (len(actions) - 5) + [True] * 5
        assert demo["dones"][:].tolist() == [0] * (len(actions) - 1) + [1]
    assert attempts_of(path) == {"red": (10, 10), "green": (10, 10), "blue": (10, 10)}


def test_success_is_held_as_long_as_asked(tmp_path):
    short = arrays(generate("demonstrations", tmp_path / "s.h5", 2, task="red"))
    long = arrays(generate("demonstrations", tmp_path / "l.h5", 2, task="red", hold=12))
    for demo in ("data/demo_0", "data/demo_1"):
        few, many = short[f"{demo}/actions"], long[f"{demo}/actions"]
        assert len(many) == len(few) + 7
        np.testing.assert_array_equal(many[: len(few)], few)


def test_files_that_are_older_than_an_option_are_those_of_its_default(tmp_path):
    path = generate("demonstrations", tmp_path / "d.h5", 1, task="red")
    with h5py.File(path, "r+") as file:
        told = json.loads(str(file.attrs["parameters"]))
        assert told.pop("hold") == 5
        file.attrs["parameters"] = json.dumps(told)
    asked = {"solver": "demonstrations", "samples": 1, "task": "red"}
    assert generate("demonstrations", path, 1, task="red") == path
    provide(str(path), asked)
    with pytest.raises(FileExistsError, match="exists with hold 5, but hold 12 is asked for"):
        provide(str(path), asked | {"hold": 12})


def test_the_same_seed_gives_the_same_file_whatever_the_number_of_processes(tmp_path):
    one = generate("demonstrations", tmp_path / "a.h5", 4, seed=3, task="red,blue")
    two = generate("demonstrations", tmp_path / "b.h5", 4, seed=3, task="red,blue", workers=2)
    other = generate("demonstrations", tmp_path / "c.h5", 4, seed=4, task="red,blue")
    alone = generate("demonstrations", tmp_path / "d.h5", 4, seed=3, task="red")
    assert same(one, two)
    assert not same(one, other)
    assert (arrays(one)["data/demo_2/actions"] == arrays(alone)["data/demo_2/actions"]).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "b.h5", "c.h5", "d.h5"]


SLOW = """
import sys, time
import surform.data.solvers.demonstrations_run as run
from surform.data.solvers.generate import generate
first = run.attempt
def slow(*arguments):
    time.sleep(0.05)
    return first(*arguments)
run.attempt = slow
generate("demonstrations", sys.argv[1], 20, task="red,green")
"""


@pytest.mark.fault
def test_a_killed_run_is_continued(tmp_path):
    out, partial = tmp_path / "d.h5", tmp_path / "d.h5.partial"
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(out)])
    begun = time.monotonic()
    while len(list(partial.glob("*/*.npz"))) < 5 and time.monotonic() - begun < 60:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in partial.glob("*/*.npz")}
    assert 5 <= len(kept) < 40
    assert not out.exists()
    generate("demonstrations", out, 20, task="red,green")
    whole = generate("demonstrations", tmp_path / "whole.h5", 20, task="red,green")
    assert same(out, whole)
    assert not partial.exists()


@pytest.mark.fault
def test_an_expert_that_fails(tmp_path):
    with pytest.raises(
        ValueError, match=r"expert of .*Hopeless \(red\) succeeded in 0 of \d+ attempts"
    ):
        generate("demonstrations", tmp_path / "d.h5", 1, env=f"{STRANGE}:Hopeless", task="red")
    assert not (tmp_path / "d.h5").exists()


@pytest.mark.fault
def test_an_environment_without_an_expert(tmp_path):
    with pytest.raises(ValueError, match=r"has no expert\(\)"):
        generate("demonstrations", tmp_path / "d.h5", 1, env=f"{STRANGE}:Vector")


@pytest.mark.fault
def test_what_cannot_be(tmp_path):
    def refused(text, out="d.h5", error=ValueError, **options):
        with pytest.raises(error, match=text):
            generate("demonstrations", tmp_path / out, 1, **options)

    refused("must end in .h5 or .hdf5, where demonstrations", "d.zarr")
    with pytest.raises(ValueError, match="made in one piece"):
        generate("demonstrations", tmp_path / "d.h5", 2, shard=(0, 2), batch=1)
    refused("no task 'pink'", task="pink")
    refused("fifty tasks", env="metaworld")
    refused("CPU only", device="cuda")
    refused("hold is 0, but must be at least 1", hold=0)
    generate("demonstrations", tmp_path / "e.h5", 1, task="red")
    refused("exists with task 'red', but task 'blue'", "e.h5", FileExistsError, task="blue")


def test_the_command_tells_how_many_attempts_succeeded(tmp_path, capsys):
    line = ["generate", "demonstrations", "--out", str(tmp_path / "d.h5"), "--task", "red"]
    assert main([*line, "--episodes", "2", "--workers", "1"]) == 0
    assert "red: kept the 2 episodes of 2 attempts" in capsys.readouterr().out
    assert main([*line, "--episodes", "2"]) == 0
    assert "already complete" in capsys.readouterr().out
