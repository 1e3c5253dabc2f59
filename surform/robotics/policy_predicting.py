"""What a policy would do at every step of demonstrations, into a file beside what was done."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from surform.data.atomic import refuse_folder, replacing
from surform.data.checked_file import CheckedFile
from surform.data.demonstrations_module import DemonstrationsData
from surform.data.outputs import check_output
from surform.data.solvers.progress import progress_bar

if TYPE_CHECKING:
    from surform.robotics.policy import Policy

__all__ = ["predict_file"]


def predict_file(
    policy: Policy, source: str, out: str | PathLike[str], batch_size: int = 64
) -> Path:
    """Write `data/<episode>/{actions, predicted}`, all or nothing; returns the path.

    predicted[t], (chunk, numbers) in the robot's units, is what the policy would begin at step t
    after the demonstrated steps before. The attribute `action_l1` is the mean absolute error of
    predicted[:, 0].

    Args:
        source: demonstrations, as `open_demonstrations` takes them.
        out: a file .h5 or .hdf5.

    Raises:
        ValueError: no description of its data, or demonstrations that it was not made for.
    """
    path, about = Path(out), policy.description
    if path.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"{path} must end in .h5 or .hdf5, where predicted actions are written")
    if about is None:
        raise ValueError("the policy does not know what it observes: its data are not described")
    check_output(path, [source])
    refuse_folder(path, "--out")
    data = DemonstrationsData(
        source,
        observations=list(about.observations),
        cameras=list(about.cameras),
        image_size=_side(about.cameras),
        language=about.language,
        language_dim=max(about.language_dim, 8),
        history=about.history,
        chunk=about.chunk,
        split={"train": 1.0},
        eval_batch_size=batch_size,
    )
    data.check(about)
    samples = data.samples("train")
    episodes = samples.recorded.source.episodes
    device, first, off = policy.action.mean.device, 0, []
    with (
        replacing(path) as partial,
        CheckedFile(partial) as sink,
        h5py.File(sink, "w") as file,
        progress_bar(f"acting in {source}") as progress,
    ):
        for number, episode in enumerate(episodes):
            windows = range(first, first + episode.steps)
            parts = [
                samples[list(windows[begin : begin + batch_size])]
                for begin in range(0, episode.steps, batch_size)
            ]
            found = [policy.outputs(part.to(device)).cpu().numpy() for part in parts]
            predicted = np.concatenate(found)
            done = np.concatenate([part.actions[:, 0].numpy() for part in parts])
            group = file.create_group(f"data/{episode.name}")
            group["actions"], group["predicted"] = done, predicted
            group.attrs["action_l1"] = float(np.abs(predicted[:, 0] - done).mean())
            group.attrs["told"] = episode.told
            off.append(np.abs(predicted[:, 0] - done).mean(-1))
            first += episode.steps
            sink.check()
            progress((number + 1) / len(episodes))
        file.attrs["action_l1"] = float(np.concatenate(off).mean())
    return path


def _side(cameras: dict[str, list[int]]) -> list[int] | None:
    """The one size of all cameras."""
    sizes = {tuple(shape[:2]) for shape in cameras.values()}
    return list(sizes.pop()) if len(sizes) == 1 else None
