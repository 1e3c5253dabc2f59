"""Demonstrations of a point that goes to a goal, in every layout that is read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from surform.data.demonstrations_write import DemonstrationWriter

TASKS = ("left", "right")


def steps_of(number: int, steps: int, seed: int = 0) -> dict[str, Any]:
    """A point in [-1, 1]² goes to a goal on the side that it is told, a tenth of the way a step."""
    rng = np.random.default_rng([seed, number])
    side = number % 2
    goal = np.array([2 * side - 1, rng.uniform(-1, 1)])
    point, seen, done = rng.uniform(-1, 1, 2), [], []
    for _ in range(steps):
        action = np.clip(goal - point, -1, 1)
        seen.append(point)
        done.append(action)
        point = point + 0.3 * action
    return {
        "actions": np.stack(done),
        "obs": {"position": np.stack(seen), "goal": np.tile(goal, (steps, 1))},
        "rewards": -np.abs(np.stack(done)).sum(1),
        "dones": np.arange(steps) == steps - 1,
        "task": f"go-{TASKS[side]}",
        "instruction": f"go to the {TASKS[side]}",
    }


def pictures(positions: np.ndarray, size: int = 16) -> np.ndarray:
    """(steps, size, size, 3) uint8 with a bright square where the point is."""
    images = np.full((len(positions), size, size, 3), 20, np.uint8)
    places = np.clip(((positions + 1) / 2 * (size - 4)).astype(int), 0, size - 4)
    for image, (x, y) in zip(images, places, strict=True):
        image[y : y + 4, x : x + 4] = (200, 120, 60)
    return images


def write_demonstrations(
    path: Path, episodes: int = 8, steps: int = 12, camera: int | None = None, seed: int = 0
) -> Path:
    """Episodes of `steps`, `steps` + 1, ... steps; all but the last two in the mask "train"."""
    environment = {"env_name": "Point-v0", "control_hz": 10}
    with DemonstrationWriter(path, environment) as writer:
        for number in range(episodes):
            one = steps_of(number, steps + number, seed)
            if camera is not None:
                one["obs"]["front"] = pictures(one["obs"]["position"], camera)
            writer.add(**one, mask="train" if number < episodes - 2 else "valid", seed=number)
    return path


def write_minari(path: Path, episodes: int = 3, steps: int = 6, nested: bool = False) -> Path:
    """Minari's layout: one observation more than actions."""
    with h5py.File(path, "w") as file:
        for number in range(episodes):
            one = steps_of(number, steps + 1)
            group = file.create_group(f"episode_{number}")
            if nested:
                for name, values in one["obs"].items():
                    group[f"observations/robot/{name}"] = values
            else:
                group["observations"] = np.concatenate([*one["obs"].values()], 1)
            group["actions"] = one["actions"][:-1]
            group["rewards"] = one["rewards"][:-1]
            group["terminations"] = one["dones"][1:]
            group["truncations"] = np.zeros(steps, bool)
            group.attrs["instruction"] = one["instruction"]
    return path


def write_aloha(
    folder: Path, episodes: int = 3, steps: int = 6, packed: bool = False, **more: Any
) -> Path:
    """ALOHA's layout, a file for each episode; `more` are further data sets of `observations`."""
    folder.mkdir(exist_ok=True)
    for number in range(episodes):
        one = steps_of(number, steps + number)
        images = pictures(one["obs"]["position"])
        with h5py.File(folder / f"episode_{number}.hdf5", "w") as file:
            file.attrs["sim"] = True
            file["observations/qpos"] = np.concatenate([*one["obs"].values()], 1)
            file["observations/qvel"] = np.zeros((len(images), 4))
            file["observations/images/top"] = _jpeg(images) if packed else images
            file["action"] = one["actions"]
            for name, values in more.items():
                file[f"observations/{name}"] = values[: len(images)]
    return folder


def _jpeg(images: np.ndarray) -> np.ndarray:
    """JPEG files, padded with zeros to the length of the longest."""
    packed = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, format="JPEG", quality=95)
        packed.append(np.frombuffer(stream.getvalue(), np.uint8))
    found = np.zeros((len(packed), max(map(len, packed))), np.uint8)
    for row, own in zip(found, packed, strict=True):
        row[: len(own)] = own
    return found


def write_libero(path: Path, episodes: int = 3, steps: int = 6, **attributes: Any) -> Path:
    """LIBERO's layout: robomimic's, one file for each task, which tells the instruction."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Libero_Kitchen", "env_kwargs": {}})
        for name, value in attributes.items():
            data.attrs[name] = value
        for number in range(episodes):
            one, group = steps_of(number, steps), data.create_group(f"demo_{number}")
            state = one["obs"]["position"]
            group["actions"] = one["actions"]
            group["rewards"], group["dones"] = one["rewards"], one["dones"].astype(np.uint8)
            group["states"] = np.zeros((steps, 7))
            group["obs/agentview_rgb"] = group["obs/eye_in_hand_rgb"] = pictures(state)
            group["obs/ee_states"] = np.concatenate([state, state], 1)
            group["obs/gripper_states"] = state
    return path
