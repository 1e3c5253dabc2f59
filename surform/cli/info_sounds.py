"""`surform info` on sounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surform.data.clips_files import SOUNDS, read_header, sound_files
from surform.data.clips_open import open_rows

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["is_sounds", "show_sounds"]


def is_sounds(path: str) -> bool:
    """Whether a path is a sound or a folder of sounds."""
    where = Path(path)
    if where.is_file():
        return where.suffix.lower() in SOUNDS
    return where.is_dir() and where.suffix != ".zarr" and bool(sound_files(where)[:1])


def show_sounds(console: Console, path: str) -> None:
    """How many sounds of what rates, channels and lengths, and how many of each class."""
    where = Path(path)
    files = [where] if where.is_file() else sound_files(where)
    found = [read_header(file) for file in files]
    console.print(f"{path}: {len(files):,} sounds", style="bold", soft_wrap=True)
    rates, channels = ({getattr(one, name) for one in found} for name in ("rate", "channels"))
    seconds = np.array([one.samples / one.rate for one in found])
    console.print(
        f"{_listed(rates)} Hz, channels: {_listed(channels)}, {seconds.min():.2f} to "
        f"{seconds.max():.2f} s, {seconds.sum() / 60:.1f} minutes in all",
        soft_wrap=True,
    )
    if where.is_file():
        return
    try:
        rows = open_rows(where)
    except (ValueError, FileNotFoundError):  # sounds without classes
        return
    for split in ("train", "validation", "test"):
        count = sum(row.split == split for row in rows)
        if count:
            console.print(f"{split}: {count:,}")
    names, counts = np.unique([name for row in rows for name in row.labels], return_counts=True)
    shown = [f"{name} {count:,}" for name, count in zip(names, counts, strict=True)]
    more = f", ... ({len(shown)} classes)" if len(shown) > 40 else ""
    console.print(f"classes: {', '.join(shown[:40])}{more}", soft_wrap=True)


def _listed(values: set[int]) -> str:
    return ", ".join(f"{value}" for value in sorted(values))
