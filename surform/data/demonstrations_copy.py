"""Demonstrations in another layout: HDF5 to LeRobot v3, LeRobot v3 or Minari to HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from surform.data.demonstrations_files import open_demonstrations
from surform.data.demonstrations_lerobot_write import rewards_of, write_lerobot
from surform.data.demonstrations_write import DemonstrationWriter
from surform.data.outputs import check_output

__all__ = ["copy_demonstrations"]


def copy_demonstrations(path: Any, out: str | Path, **options: Any) -> Path:
    """Write the demonstrations at `path` in another layout, all or nothing; returns `out`.

    Args:
        out: a file .h5 or .hdf5: robomimic's layout, images as they are seen; or a folder: LeRobot
            v3.
        options: of `write_lerobot`, for a folder.

    Raises:
        ValueError: `out` would replace what is read.
    """
    out = Path(out)
    check_output(out, [path] if isinstance(path, str) else list(path))
    source = open_demonstrations(path)
    if out.suffix not in (".h5", ".hdf5"):
        return write_lerobot(source, out, **options)
    if options:
        raise ValueError(f"{next(iter(options))} is for LeRobot's layout, not for {out.suffix}")
    with DemonstrationWriter(out, source.about.environment) as writer:
        masks = source.about.masks
        for number, episode in enumerate(source.episodes):
            last = episode.steps
            writer.add(
                source.read(number, "action", 0, last),
                {name: source.read(number, name, 0, last) for name in source.about.columns},
                rewards_of(source, number),
                np.arange(last) == last - 1,
                mask=[mask for mask, own in masks.items() if number in own],
                **{k: v for k in ("task", "instruction") if (v := getattr(episode, k))},
            )
    return out
