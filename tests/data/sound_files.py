"""Small sounds for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.io import wavfile

__all__ = ["CLASSES", "RATE", "dataset", "folder", "sound", "write"]

RATE = 8000
CLASSES = ("high", "hiss", "low")


def sound(seed: int, label: int, count: int = RATE // 4) -> np.ndarray:
    """(n,) float32: a high tone, noise, or a low tone."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(count) * 0.05
    if label == 1:
        return (4 * noise).astype(np.float32)
    pitch = (1800 if label == 0 else 300) * (1 + 0.2 * generator.random())
    tone = 0.4 * np.sin(2 * np.pi * pitch * np.arange(count) / RATE)
    return (tone + noise).astype(np.float32)


def write(path: Path, values: np.ndarray, rate: int = RATE, kind: Any = np.int16) -> Path:
    """A .wav file of 16 bits, or of floats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind is np.int16:
        values = (np.clip(values, -1, 1) * 32767).astype(np.int16)
    wavfile.write(path, rate, values.astype(kind))
    return path


def folder(root: Path, each: int = 8, splits: tuple[str, ...] = ()) -> Path:
    """A folder of sounds for each class, perhaps below folders of splits."""
    for holder in splits or ("",):
        for label, name in enumerate(CLASSES):
            for number in range(each):
                seed = 100 * label + number + 1000 * len(holder)
                write(root / holder / name / f"{number}.wav", sound(seed, label))
    return root


def dataset(count: int = 60, several: bool = False) -> xr.Dataset:
    """Clips in memory, with a variable for each class."""
    labels = np.arange(count) % 3
    waves = np.stack([sound(n, int(label)) for n, label in enumerate(labels)])
    marks = np.eye(3)[labels]
    if several:
        waves[::2] += np.stack([sound(n + 500, 1) for n in range(0, count, 2)])
        marks[::2, 1] = 1
    found = {name: ("sample", marks[:, k]) for k, name in enumerate(CLASSES)}
    time = np.arange(waves.shape[1]) / RATE
    return xr.Dataset({"waveform": (("sample", "time"), waves), **found}, {"time": time})
