"""Clips of sound: WAV and FLAC in folders and tables, the lists of AudioSet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.fuzz.formats import Format
from surform.data.clips_module import ClipsData
from tests.data.sound_files import RATE, sound, write

__all__ = ["FORMATS"]

_LENGTH = 1000  # numbers of a clip


def _folder(folder: Path) -> Path:
    import soundfile

    root = folder / "birds"
    for label, name in enumerate(("high", "hiss")):
        for number, kind in enumerate((np.int16, np.float32)):
            write(root / name / f"{number}.wav", sound(number, label, _LENGTH), kind=kind)
        for number, kind in enumerate(("flac", "ogg")):
            soundfile.write(root / name / f"{number}.{kind}", sound(9, label, _LENGTH), RATE)
    return root


def _table(folder: Path) -> Path:
    rows = ["filename,fold,category"]
    for number in range(6):
        write(folder / f"{number}.wav", sound(number, number % 2, _LENGTH))
        rows.append(f"{number}.wav,{number % 3 + 1},{('high', 'hiss')[number % 2]}")
    (folder / "birds.csv").write_text("\n".join(rows) + "\n")
    return folder / "birds.csv"


def _audioset(folder: Path) -> Path:
    root = folder / "audioset"
    for number in range(4):
        write(root / f"video{number}.wav", sound(number, number % 2, _LENGTH))
    lines = [f'video{n}, 0.000, 10.000, "/m/{n % 2},/m/2"' for n in range(4)]
    (root / "balanced_train_segments.csv").write_text("# made\n" + "\n".join(lines[:3]) + "\n")
    (root / "eval_segments.csv").write_text("# made\n" + lines[3] + "\n")
    names = ["index,mid,display_name", *(f'{n},/m/{n},"Sound, {n}"' for n in range(3))]
    (root / "class_labels_indices.csv").write_text("\n".join(names) + "\n")
    return root


def _read(path: Path) -> None:
    divided = path.suffix == ".csv" or path.name == "audioset"
    split: dict[str, int | float] | None = None if divided else {"train": 4, "test": 4}
    data = ClipsData(str(path), rate=RATE, mel_bins=16, split=split)
    data.description()
    data.normalizers()
    for name in ("train", "test"):
        samples = data.samples(name)
        samples[list(range(len(samples)))]


_SPLITS = ("train", "test")  # of which the tables tell
FORMATS = {
    "sounds-folder": Format(_folder, _read),
    "sounds-table": Format(_table, _read, _SPLITS),
    "sounds-audioset": Format(_audioset, _read, _SPLITS),
}
